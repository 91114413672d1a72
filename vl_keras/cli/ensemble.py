"""`vl-keras ensemble`: joins trained runs into one."""

import argparse

from vl_keras.cli.arguments import Commands, add_command, add_use_arguments


def add(commands: Commands) -> None:
    """Describes the command."""
    command = add_command(
        commands,
        "ensemble",
        run,
        "join trained captioners into a better one",
        "Joins runs that were trained with different seeds into one run that writes each word by the mean of their "
        "logits, and evaluates it on the development split. They need one vocabulary, one kind of decoder and the "
        "same frozen encoders. The new run is evaluated, used and exported like any other; a word costs it as much as "
        "it costs all its members together.",
        "vl-keras train captioning/flickr8k_transformer --set training.seed=1 --run-dir runs/one\n"
        "  vl-keras train captioning/flickr8k_transformer --set training.seed=2 --run-dir runs/two\n"
        "  vl-keras ensemble runs/one runs/two --run-dir runs/both",
    )
    command.add_argument("runs", metavar="RUN", nargs="+", help="run directories written by `vl-keras train`")
    command.add_argument("--run-dir", metavar="DIR", required=True, help="where the new run is written")
    add_use_arguments(command)


def run(options: argparse.Namespace) -> None:
    """Joins the runs."""
    from vl_keras.training.ensemble import ensemble

    result = ensemble(options.runs, options.run_dir, options.overrides, options.weights)
    for member in result["members"]:
        print(f"{member['run']}: {member['weights']}")
    print(f"run: {options.run_dir}: {result['best']['which']}")
