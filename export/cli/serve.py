"""`vl-export serve`: serves SavedModels."""

import argparse

from export.server.options import add_serve_arguments
from vl_keras.cli.arguments import Commands, add_command


def add(commands: Commands) -> None:
    """Adds the command."""
    parser = add_command(
        commands,
        "serve",
        run,
        "serve SavedModels over the gRPC and REST APIs of TensorFlow Serving",
        "Serves SavedModels like TensorFlow Serving 2.20, with the flags of tensorflow_model_server.",
        "vl-export serve --port=8500 --rest_api_port=8501 --model_name=captioner \\\n"
        "      --model_base_path=$PWD/models/captioner",
    )
    add_serve_arguments(parser)


def run(options: argparse.Namespace) -> int:
    """Serves until SIGTERM or SIGINT."""
    from export.server.main import serve

    return serve(options)
