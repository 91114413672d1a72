"""`vl-keras data questions`: makes questions with answers from captions."""

import argparse

from vl_keras.cli.arguments import Commands, add_command, add_config_arguments


def add(commands: Commands) -> None:
    """Describes the command."""
    command = add_command(
        commands,
        "questions",
        run,
        "make questions with answers from captions",
        "Makes questions about images from their English captions - what is there, how many, which colour - and writes "
        "them as a manifest that question answering can be trained with. Images that lie in no file of their own are "
        "written beside it.",
        "vl-keras data questions vqa/photos --set data.manifest=photos.jsonl --out questions.jsonl",
    )
    add_config_arguments(command)
    command.add_argument("--out", metavar="FILE", required=True, help="the manifest to write, a JSONL file")
    command.add_argument("--seed", type=int, default=0, help="seed of the random choices (default: 0)")


def run(options: argparse.Namespace) -> None:
    """Makes the questions and prints how many there are."""
    from vl_keras.config import load_config

    config = load_config(options.config, options.overrides)  # a fault in it shows before TensorFlow is loaded

    from vl_keras.data.write_questions import write_questions

    for split, counts in write_questions(config.data, options.out, options.seed).items():
        print(f"{split}: " + ", ".join(f"{count:,} {kind}" for kind, count in counts.items()))
    print(f"questions: {options.out}")
