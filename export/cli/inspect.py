"""`vl-export inspect`: describes a SavedModel."""

import argparse

from vl_keras.cli.arguments import Commands, add_command


def add(commands: Commands) -> None:
    """Adds the command."""
    parser = add_command(
        commands,
        "inspect",
        run,
        "show the signatures and operations of a SavedModel",
        "Prints the signatures, operations, size and fingerprint of a SavedModel, and whether TensorFlow Serving can "
        "run it; exit status 1 if not.",
        "vl-export inspect models/captioner/1",
    )
    parser.add_argument("folder", metavar="DIR", help="folder of one version, e.g. models/captioner/1")
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(options: argparse.Namespace) -> int:
    """Prints the description; 1 if TensorFlow Serving cannot run the model."""
    import json

    from export.inspect import format_inspection, inspect_savedmodel

    inspection = inspect_savedmodel(options.folder)
    print(json.dumps(inspection._asdict(), indent=2) if options.json else format_inspection(inspection))
    return 1 if inspection.problems else 0
