"""`vl-keras make-memory`: keeps people's captions for captioners to agree with."""

import argparse

from vl_keras.cli.arguments import Commands, add_command, add_use_arguments


def add(commands: Commands) -> None:
    """Describes the command."""
    command = add_command(
        commands,
        "make-memory",
        run,
        "keep people's captions for captioners to agree with",
        "Writes the training captions of a run that embeds images and texts in one space, and their vectors, into a "
        "folder. A captioner with the same frozen image encoder that is evaluated, used or exported with "
        "generation.memory=FOLDER then re-ranks its candidate captions by how well they agree with the stored captions "
        "of similar images.",
        "vl-keras make-memory runs/retrieval --out data/memory\n"
        "  vl-keras evaluate runs/captioner --set generation.memory=data/memory generation.beam_size=5",
    )
    command.add_argument("run", metavar="RUN", help="run directory written by `vl-keras train`")
    command.add_argument("--out", metavar="DIR", required=True, help="where the memory is written; must not exist")
    add_use_arguments(command)


def run(options: argparse.Namespace) -> None:
    """Writes the memory."""
    from vl_keras.search.make_memory import make_memory

    memory = make_memory(options.run, options.out, options.overrides, options.weights)
    print(f"{options.out}: {len(memory.captions):,} captions of {len(set(memory.image_ids)):,} images")
