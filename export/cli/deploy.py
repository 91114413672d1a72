"""`vl-export deploy`: writes the configuration of TensorFlow Serving."""

import argparse

from vl_keras.cli.arguments import Commands, add_command
from vl_keras.errors import printable


def add(commands: Commands) -> None:
    """Adds the command."""
    parser = add_command(
        commands,
        "deploy",
        run,
        "write the configuration files that run TensorFlow Serving",
        "Writes the configuration of TensorFlow Serving for one or more models, and docker-compose.yaml, "
        "kubernetes.yaml and kserve.yaml, which use its published image.",
        "vl-export deploy models/captioner --out deploy",
    )
    parser.add_argument("models", nargs="+", metavar="MODEL", help="folders of models, e.g. models/captioner")
    parser.add_argument("--out", required=True, metavar="DIR", help="folder to write to")
    parser.add_argument(
        "--claim",
        default="models",
        metavar="NAME",
        help="PersistentVolumeClaim that contains these folders (default: models)",
    )


def run(options: argparse.Namespace) -> None:
    """Writes the files and prints their paths."""
    from export.serving_config import write_serving_config

    for path in write_serving_config(options.models, options.out, options.claim):
        print(printable(path))
