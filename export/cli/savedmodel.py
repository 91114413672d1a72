"""`vl-export savedmodel`: exports a trained run."""

import argparse

from vl_keras.cli.arguments import Commands, add_command
from vl_keras.errors import printable


def add(commands: Commands) -> None:
    """Adds the command."""
    parser = add_command(
        commands,
        "savedmodel",
        run,
        "export a trained run for TensorFlow Serving",
        "Exports a trained run to OUT/<version>/. The SavedModel is compared with the model in memory and published "
        "atomically, so a server may poll OUT at any time.",
        "vl-export savedmodel runs/mine --out models/captioner",
    )
    parser.add_argument("run_dir", metavar="RUN", help="run directory written by `vl-keras train`")
    parser.add_argument("--out", required=True, metavar="DIR", help="folder of the model, e.g. models/captioner")
    parser.add_argument(
        "--version", type=int, metavar="N", help="number of the version (default: one more than the highest)"
    )
    parser.add_argument(
        "--weights",
        choices=("auto", "best", "last", "ema"),
        default="auto",
        help="which weights of the run (auto: best, else last)",
    )
    parser.add_argument(
        "--weights-dtype",
        choices=("float32", "float16", "bfloat16", "int8"),
        default="float32",
        help="type of the weights on disk (default: float32). The others make smaller files, but a server needs more "
        "memory and time for them than for float32, because every run converts them; the development metrics are "
        "compared",
    )
    parser.add_argument(
        "--batch-sizes",
        type=int,
        nargs="+",
        default=(1, 4, 16),
        metavar="B",
        help="batch sizes of the warm-up requests (default: 1 4 16)",
    )
    parser.add_argument(
        "--set",
        dest="overrides",
        nargs="+",
        action="extend",
        default=[],
        metavar="KEY=VALUE",
        help="settings to export with that leave the weights valid, e.g. generation.beam_size=5",
    )


def run(options: argparse.Namespace) -> None:
    """Exports."""
    from export.savedmodel import export_savedmodel

    export_savedmodel(
        options.run_dir,
        options.out,
        options.version,
        options.weights,
        options.weights_dtype,
        tuple(options.batch_sizes),
        options.overrides,
        log=lambda line: print(printable(line), flush=True),
    )
