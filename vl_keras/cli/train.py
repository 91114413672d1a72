"""`vl-keras train`: trains an experiment into a run directory."""

import argparse
from pathlib import Path

from vl_keras.cli.arguments import Commands, add_command, add_config_arguments


def add(commands: Commands) -> None:
    """Describes the command."""
    command = add_command(
        commands,
        "train",
        run,
        "train an experiment into a run directory",
        "Trains the experiment that a YAML file describes. The run directory gets the resolved settings, the "
        "vocabulary, checkpoints, the best weights and curves for TensorBoard. Ctrl-C and SIGTERM save and stop; "
        "--resume continues.",
        "vl-keras train captioning/shapes --set training.epochs=3 --run-dir runs/first",
    )
    add_config_arguments(command)
    command.add_argument("--run-dir", metavar="DIR", help="where everything is written (default: runs/NAME-OF-CONFIG)")
    command.add_argument("--resume", action="store_true", help="continue the stopped run in the run directory")
    command.add_argument(
        "--init-from", metavar="RUN", help="start from the weights and the vocabulary (extended) of a trained run"
    )


def run(options: argparse.Namespace) -> None:
    """Trains."""
    from vl_keras.config import load_config

    config = load_config(options.config, options.overrides)  # a fault in it shows before TensorFlow is loaded

    from vl_keras.training.train import train

    run_dir = options.run_dir or Path("runs") / Path(options.config).stem
    train(config, run_dir, resume=options.resume, init_from=options.init_from)
    print(f"run: {run_dir}")
