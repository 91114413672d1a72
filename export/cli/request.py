"""`vl-export request`: sends images and texts to a served model."""

import argparse

from export.cli.arguments import add_client_arguments, add_text_arguments, client_options, read_texts
from vl_keras.cli.arguments import Commands, add_command


def add(commands: Commands) -> None:
    """Adds the command."""
    parser = add_command(
        commands,
        "request",
        run,
        "send images to a served model",
        "Sends images and texts to TensorFlow Serving or `vl-export serve` and prints the outputs; exit status 1 if no "
        "image could be read.",
        "vl-export request grpc://localhost:8500 --image photos/ --candidates\n"
        "  vl-export request http://localhost:8501 --image beach.jpg --explain beach.png",
    )
    parser.add_argument("url", metavar="URL", help="grpc://HOST:PORT, http://HOST:PORT, grpcs://… or https://…")
    parser.add_argument(
        "--image", nargs="+", action="extend", default=[], metavar="FILE", help="image files, or folders at any depth"
    )
    add_text_arguments(parser)
    parser.add_argument("--signature", metavar="NAME", help="signature (default: the one with exactly these inputs)")
    parser.add_argument("--candidates", action="store_true", help="several captions, with their scores")
    parser.add_argument("--explain", metavar="OUT.png", help="draw the attention weights of each word")
    parser.add_argument("--json", action="store_true", help="one JSON object per line, with every output in full")
    parser.add_argument(
        "--timeout", type=float, default=60.0, metavar="SECONDS", help="time limit of each request (default: 60)"
    )
    parser.add_argument(
        "--wait", type=float, default=0.0, metavar="SECONDS", help="wait for the model to become available (default: 0)"
    )
    add_client_arguments(parser)


def run(options: argparse.Namespace) -> int:
    """Sends the requests and prints the outputs; 1 if no image could be read."""
    import json

    from export.request import OK, format_rows, request

    rows = request(
        options.url,
        options.image,
        read_texts(options),
        options.signature or ("caption_candidates" if options.candidates else None),
        options.explain,
        options.wait,
        timeout_s=options.timeout,
        **client_options(options),
    )
    print("\n".join(json.dumps(row, ensure_ascii=False) for row in rows) if options.json else format_rows(rows))
    return 0 if any(row["status"] == OK for row in rows) else 1
