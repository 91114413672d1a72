"""`vl-keras index`: makes images searchable."""

import argparse
import sys

from vl_keras.cli.arguments import Commands, add_command, add_run_arguments


def add(commands: Commands) -> None:
    """Describes the command."""
    command = add_command(
        commands,
        "index",
        run,
        "make images searchable",
        "Embeds images into an index folder, with a run that embeds images and texts in one space. Run it again to "
        "bring the index up to date: it embeds new images and those whose file has another size or time, and leaves "
        "the others alone; images that are not under --images stay in the index. An image that cannot be read is "
        "listed and stops nothing. A stopped build leaves the old index whole, and continues when it is started again. "
        "Exit status 1: no image could be read.",
        "vl-keras index runs/retrieval --images ~/photos --out photos.index\n"
        "  vl-keras index runs/retrieval --images ~/photos --out photos.index --delete-missing\n"
        "  vl-keras index runs/retrieval --out photos.index --delete ~/photos/2019 ~/photos/blurred.jpg",
    )
    command.add_argument(
        "--images",
        metavar="PATH",
        nargs="+",
        action="extend",
        default=[],
        help="files, or folders of images; may be left out to delete only",
    )
    command.add_argument("--out", metavar="INDEX", required=True, help="folder of the index; created if it is absent")
    command.add_argument(
        "--delete",
        metavar="PATH",
        nargs="+",
        action="extend",
        default=[],
        help="remove these files, or all below these folders, from the index, even if --images names them",
    )
    command.add_argument(
        "--delete-missing", action="store_true", help="remove images whose files are gone from the index"
    )
    add_run_arguments(command)


def run(options: argparse.Namespace) -> int:
    """Brings the index up to date."""
    from vl_keras.search.index_images import format_indexing, format_troubles, index_images

    indexing = index_images(
        options.run,
        options.images,
        options.out,
        delete=options.delete,
        delete_missing=options.delete_missing,
        overrides=options.overrides,
        weights=options.weights,
    )
    troubles = format_troubles(indexing)
    if troubles:
        print(troubles, file=sys.stderr)
    print(format_indexing(options.out, indexing))
    return int(bool(indexing.failed) and not (indexing.added or indexing.changed or indexing.unchanged))
