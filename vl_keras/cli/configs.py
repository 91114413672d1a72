"""`vl-keras configs`: lists the shipped experiments."""

import argparse

from vl_keras.cli.arguments import Commands, add_command


def add(commands: Commands) -> None:
    """Describes the command."""
    add_command(
        commands,
        "configs",
        run,
        "list the shipped experiments",
        "Prints a line for each experiment that comes with vl_keras: its name, which every command takes in place of a "
        "YAML file, and what it is.",
        "vl-keras configs\n  vl-keras train captioning/shapes",
    )


def run(options: argparse.Namespace) -> None:
    """Prints the list."""
    from vl_keras.config.experiments import shipped_experiments

    experiments = shipped_experiments()
    width = max(map(len, experiments))
    for name, summary in experiments.items():
        print(f"{name:{width}}  {summary}")
