"""The `vl-export` command: parse, call, exit."""

import argparse
import os
import signal
import sys

from export.errors import ExportError
from export.server.options import add_serve_arguments


def main(arguments=None):
    """Runs one sub-command; returns its exit status."""
    parser = argparse.ArgumentParser(
        prog="vl-export", description="Turn a trained run into a served model: export, inspect, serve, call."
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    _add_savedmodel(commands)
    _add_inspect(commands)
    _add_serve(commands)
    options = parser.parse_args(arguments)
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    try:
        return options.run(options) or 0
    except ExportError as error:
        print(f"vl-export {options.command}: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 128 + signal.SIGINT


def _add_savedmodel(commands):
    parser = commands.add_parser(
        "savedmodel",
        help="export a trained run for TensorFlow Serving",
        description="Exports a trained run to OUT/<version>/, checked against the model in memory and published in "
        "one step, so that a server which polls OUT can load it at any moment.",
    )
    parser.add_argument("run_dir", metavar="RUN", help="folder that `vl-keras train` wrote")
    parser.add_argument("--out", required=True, metavar="DIR", help="folder of the model, e.g. models/captioner")
    parser.add_argument("--version", type=int, metavar="N", help="default: one more than the highest that is there")
    parser.add_argument(
        "--weights", choices=("auto", "best", "last", "ema"), default="auto", help="default: best, else last"
    )
    parser.add_argument(
        "--weights-dtype",
        choices=("float32", "float16", "bfloat16", "int8"),
        default="float32",
        help="how the weights are kept; other than float32, the development measures before and after are printed",
    )
    parser.add_argument(
        "--batch-sizes", type=int, nargs="+", default=(1, 4, 16), metavar="B", help="of the warm-up requests: 1 4 16"
    )
    parser.add_argument(
        "--set",
        nargs="+",
        action="extend",
        default=[],
        metavar="KEY=VALUE",
        help="generation.… and data.… settings to serve with, e.g. generation.beam_size=5",
    )
    parser.set_defaults(run=_savedmodel)


def _savedmodel(options):
    from export.savedmodel import export_savedmodel
    from vl_keras.config import ConfigError
    from vl_keras.training.errors import TrainingError

    try:
        export_savedmodel(
            options.run_dir,
            options.out,
            options.version,
            options.weights,
            options.weights_dtype,
            tuple(options.batch_sizes),
            options.set,
            log=lambda line: print(line, flush=True),
        )
    except (ConfigError, TrainingError) as error:
        raise ExportError(str(error)) from error


def _add_inspect(commands):
    parser = commands.add_parser(
        "inspect",
        help="what a SavedModel answers and is made of",
        description="Prints a SavedModel's signatures, operations, size and fingerprint, and whether TensorFlow "
        "Serving can run it; exit status 1 if not.",
    )
    parser.add_argument("folder", metavar="DIR", help="folder of one version, e.g. models/captioner/1")
    parser.add_argument("--json", action="store_true", help="as JSON")
    parser.set_defaults(run=_inspect)


def _inspect(options):
    import json

    from export.inspect import format_inspection, inspect_savedmodel

    inspection = inspect_savedmodel(options.folder)
    print(json.dumps(inspection._asdict(), indent=2) if options.json else format_inspection(inspection))
    return 1 if inspection.problems else 0


def _add_serve(commands):
    parser = commands.add_parser(
        "serve",
        help="a local server that speaks TensorFlow Serving's gRPC and REST",
        description="Serves SavedModels as TensorFlow Serving 2.20 does, under tensorflow_model_server's own flags.",
    )
    add_serve_arguments(parser)
    parser.set_defaults(run=_serve)


def _serve(options):
    from export.server.main import serve

    return serve(options)
