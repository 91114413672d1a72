"""One search, with its results drawn."""

from pathlib import Path

from vl_keras.data.image_files import check_not_over, printable
from vl_keras.errors import RunError
from vl_keras.search.image_search import ImageSearch
from vl_keras.search.search_sheet import draw_search_sheet


def search_images(index_dir, text=None, image=None, top=10, sheet=None, run_dir=None, report=None):
    """Finds the images of an index that are nearest to a text or to an image.

    Args:
        index_dir: folder that `index_images` wrote.
        text: what the images should show. Give this or `image`.
        image: image file.
        top: images to find.
        sheet: PNG file that shows them.
        run_dir: where the run lies that the index was built with; None: where it lay then.
        report: called with what the user should know of the index, if anything, such as that it is empty.

    Returns:
        List of `SearchResult`, best first.

    Raises:
        RunError: not one of `text` and `image` is given, the image cannot be read, or the run is not there.
        RetrievalError: there is no index, or it is another encoder's than the run's.
    """
    if (text is None) == (image is None):
        raise RunError("Give a text or an image to search for, and not both.")
    if sheet is not None and Path(sheet).suffix.lower() != ".png":
        raise RunError(f"A contact sheet is a PNG file; `{sheet}` does not end in .png.")
    if sheet is not None and image is not None:
        check_not_over([Path(sheet).expanduser()], [Path(image).expanduser()])
    search = ImageSearch(index_dir, run_dir)
    if search.note and report is not None:
        report(search.note)
    results = search.by_text(text, top) if image is None else search.by_image(image, top)
    if not results and report is not None:
        report(f"`{index_dir}` holds no image; `vl-keras index` puts some in")
    if sheet is not None:
        draw_search_sheet(results, sheet, text=text, image=image)
    return results


def format_results(results):
    """A line for each result: rank, score, path, with tabs between."""
    return "\n".join(f"{result.rank}\t{result.score:.4f}\t{printable(result.path)}" for result in results)
