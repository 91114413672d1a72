"""`vl-keras search`: finds images in an index."""

import argparse
import sys

from vl_keras.cli.arguments import Commands, add_command, utf8


def add(commands: Commands) -> None:
    """Describes the command."""
    command = add_command(
        commands,
        "search",
        run,
        "find images by words or by another image",
        "Prints a line for each image that was found, best first: rank, score and path, separated by tabs.",
        'vl-keras search photos.index --text "a dog in the snow" --sheet found.png\n'
        "  vl-keras search photos.index --image dog.jpg --top 20",
    )
    command.add_argument("index", metavar="INDEX", help="folder written by `vl-keras index`")
    query = command.add_mutually_exclusive_group(required=True)
    query.add_argument("--text", metavar="TEXT", type=utf8, help="what the images should show")
    query.add_argument("--image", metavar="FILE", help="image that they should be like")
    command.add_argument("--top", metavar="K", type=int, default=10, help="images to find (default: 10)")
    command.add_argument("--sheet", metavar="OUT.png", help="also draw them")
    command.add_argument("--run", metavar="RUN", help="where the run is now, if it was moved since the index was built")


def run(options: argparse.Namespace) -> None:
    """Searches and prints what was found."""
    from vl_keras.search.search_images import format_results, search_images

    results = search_images(
        options.index,
        text=options.text,
        image=options.image,
        top=options.top,
        sheet=options.sheet,
        run_dir=options.run,
        report=lambda note: print(f"note: {note}", file=sys.stderr),
    )
    if results:
        print(format_results(results))
    if options.sheet:
        print(f"contact sheet: {options.sheet}", file=sys.stderr)
