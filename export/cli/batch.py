"""`vl-export batch`: runs a SavedModel over many images."""

import argparse

from export.cli.arguments import add_text_arguments, read_texts
from vl_keras.cli.arguments import Commands, add_command
from vl_keras.errors import printable


def add(commands: Commands) -> None:
    """Adds the command."""
    parser = add_command(
        commands,
        "batch",
        run,
        "run a SavedModel over any number of images",
        "Writes the outputs of a SavedModel, for every image that matches a pattern, to a Parquet dataset. Apache Beam "
        "runs it in this process, or on a cluster with flags of Beam after --. A stopped run resumes when started "
        "again.",
        "vl-export batch --model models/captioner --input 'photos/**' --output captions.parquet",
    )
    parser.add_argument("--model", required=True, metavar="DIR", help="folder of a model, or of one of its versions")
    parser.add_argument("--input", required=True, metavar="PATTERN", help="folder or pattern, e.g. 'photos/**.jpg'")
    parser.add_argument("--output", required=True, metavar="DIR", help="folder of the dataset, e.g. captions.parquet")
    parser.add_argument(
        "--signature", default="serving_default", metavar="NAME", help="signature (default: serving_default)"
    )
    add_text_arguments(parser)
    parser.add_argument(
        "--batch-size", type=int, metavar="B", help="images per call (default: the largest warm-up batch size)"
    )
    parser.add_argument("beam_flags", nargs="*", metavar="-- FLAG", help="of Beam, e.g. -- --runner=DataflowRunner")


def run(options: argparse.Namespace) -> None:
    """Runs the pipeline and prints the counts."""
    from export.batch import run_batch

    summary = run_batch(
        options.model,
        options.input,
        options.output,
        options.signature,
        read_texts(options),
        options.batch_size,
        beam_flags=options.beam_flags,
    )
    output = printable(options.output)
    print(f"{output}: {summary.written} written, {summary.skipped} skipped (written by an earlier run).")
    if summary.quarantined:
        print(f"{summary.quarantined} could not be read; see {printable(summary.quarantine)}.")
