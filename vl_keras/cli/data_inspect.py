"""`vl-keras data inspect`: reports what an experiment's data holds."""

import argparse
from pathlib import Path

from vl_keras.cli.arguments import Commands, add_command, add_config_arguments


def add(commands: Commands) -> None:
    """Describes the command."""
    command = add_command(
        commands,
        "inspect",
        run,
        "counts, captions, images, leaks, unreadable files",
        "Reads every example once and reports counts, caption statistics, images that two splits share and files "
        "that cannot be read, with a contact sheet of each split.",
        "vl-keras data inspect captioning/shapes --out inspect/shapes",
    )
    add_config_arguments(command)
    command.add_argument("--out", metavar="DIR", help="where the report is written (default: inspect/NAME-OF-DATA)")


def run(options: argparse.Namespace) -> None:
    """Inspects the data and prints the report."""
    from vl_keras.config import load_config

    config = load_config(options.config, options.overrides)  # a fault in it shows before TensorFlow is loaded

    from vl_keras.training.inspect_data import format_report, inspect_data

    name = Path(config.data.manifest).stem if config.data.manifest else config.data.dataset
    print(format_report(inspect_data(config, options.out or Path("inspect") / name)), end="")
