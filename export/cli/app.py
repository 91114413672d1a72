"""`vl-export app`: a demo page over a served model."""

import argparse

from export.cli.arguments import add_client_arguments, client_options
from vl_keras.cli.arguments import Commands, add_command


def add(commands: Commands) -> None:
    """Adds the command."""
    parser = add_command(
        commands,
        "app",
        run,
        "serve a demo page over a served model",
        "Serves a page over a served model of any task: choose a signature, give an image or a text as it needs, read "
        "the outputs, called what they are, and see the attention of the model if the signature returns it. Uploaded "
        "files are deleted after ten minutes.",
        "vl-export app --server grpc://localhost:8500",
    )
    parser.add_argument("--server", required=True, metavar="URL", help="model server, e.g. grpc://localhost:8500")
    parser.add_argument(
        "--port", type=int, default=7860, metavar="N", help="port of the page; 0 picks a free one (default: 7860)"
    )
    parser.add_argument(
        "--host", default="127.0.0.1", metavar="ADDRESS", help="address to listen on (default: 127.0.0.1)"
    )
    parser.add_argument(
        "--max-upload-mb", type=int, default=20, metavar="N", help="largest file that the page takes (default: 20)"
    )
    add_client_arguments(parser)


def run(options: argparse.Namespace) -> None:
    """Serves the page until interrupted."""
    from export.app import run_app

    run_app(options.server, options.port, options.host, max_upload_mb=options.max_upload_mb, **client_options(options))
