"""One search, with its results drawn."""

from pathlib import Path

from vl_keras.training.errors import TrainingError
from vl_keras.training.index_pictures import printable
from vl_keras.training.picture_files import check_not_over
from vl_keras.training.picture_search import PictureSearch
from vl_keras.training.search_sheet import draw_search_sheet


def search_pictures(index_dir, text=None, image=None, top=10, sheet=None, run_dir=None, report=None):
    """Finds the pictures of an index that are nearest to a text or to a picture.

    Args:
        index_dir: folder that `index_pictures` wrote.
        text: what the pictures should show. Give this or `image`.
        image: picture file.
        top: pictures to find.
        sheet: PNG file that shows them.
        run_dir: where the run lies that the index was built with; None: where it lay then.
        report: called with what the user should know of the index, if anything, such as that it is empty.

    Returns:
        List of `SearchResult`, best first.

    Raises:
        TrainingError: not one of `text` and `image` is given, the picture cannot be read, or the run is not there.
        RetrievalError: there is no index, or it is another encoder's than the run's.
    """
    if (text is None) == (image is None):
        raise TrainingError("Give a text or a picture to search for, and not both.")
    if sheet is not None and Path(sheet).suffix.lower() != ".png":
        raise TrainingError(f"A contact sheet is a PNG file; `{sheet}` does not end in .png.")
    if sheet is not None and image is not None:
        check_not_over([Path(sheet).expanduser()], [Path(image).expanduser()])
    search = PictureSearch(index_dir, run_dir)
    if search.note and report is not None:
        report(search.note)
    results = search.by_text(text, top) if image is None else search.by_picture(image, top)
    if not results and report is not None:
        report(f"`{index_dir}` holds no picture; `vl-keras index` puts some in")
    if sheet is not None:
        draw_search_sheet(results, sheet, text=text, image=image)
    return results


def format_results(results):
    """A line for each result: rank, score, path, with tabs between."""
    return "\n".join(f"{result.rank}\t{result.score:.4f}\t{printable(result.path)}" for result in results)
