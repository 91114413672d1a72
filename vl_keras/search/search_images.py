"""One search for images, with a contact sheet of its results."""

from collections.abc import Callable, Sequence
from pathlib import Path

from vl_keras.data.image_files import check_not_over
from vl_keras.errors import RunError, printable
from vl_keras.search.image_search import ImageSearch, SearchResult
from vl_keras.search.search_sheet import draw_search_sheet


def search_images(
    index_dir: str | Path,
    text: str | None = None,
    image: str | Path | None = None,
    top: int = 10,
    sheet: str | Path | None = None,
    run_dir: str | Path | None = None,
    report: Callable[[str], None] | None = None,
) -> list[SearchResult]:
    """Finds the images of an index that are nearest to a text or to an image.

    Args:
        index_dir: folder that `index_images` wrote.
        text: what the images should show. Give either this or `image`.
        image: image file; finds similar images.
        top: number of images to find.
        sheet: PNG file to write: a contact sheet of the results.
        run_dir: folder of the run that the index was made with; None: where it was then.
        report: called with each warning about the index, e.g. that it is empty.

    Returns:
        List of `SearchResult`, best first.

    Raises:
        RunError: neither or both of `text` and `image` are given, the image cannot be read, or the run does not exist.
        RetrievalError: there is no index, or it was made with another encoder than the run's.
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
    results = search.by_text(text or "", top) if image is None else search.by_image(image, top)
    if not results and report is not None:
        report(f"`{index_dir}` holds no image; add images with `vl-keras index`")
    if sheet is not None:
        draw_search_sheet(results, sheet, text=text, image=image)
    return results


def format_results(results: Sequence[SearchResult]) -> str:
    """A line for each result: rank, score and path, separated by tabs."""
    return "\n".join(f"{result.rank}\t{result.score:.4f}\t{printable(result.path)}" for result in results)
