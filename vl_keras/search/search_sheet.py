"""A contact sheet of search results."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import tensorflow as tf

from vl_keras.data.open_image import decode_pixels
from vl_keras.drawing.attention_map import fit
from vl_keras.drawing.contact_sheet import Tile, draw_contact_sheet, message_image
from vl_keras.errors import printable
from vl_keras.search.image_search import SearchResult

_SIDE, _COLUMNS = 200, 5


def draw_search_sheet(
    results: Sequence[SearchResult], path: str | Path, text: str | None = None, image: str | Path | None = None
) -> None:
    """Writes a PNG: the query, then the images that were found, each with its rank, score and file name.

    Args:
        results: the images, best first. An image that is unreadable by now is a grey tile with the reason.
        path: PNG file to write; its folder is created.
        text: the query, if it was a text.
        image: file of the query, if it was an image.
    """
    path = Path(path).expanduser()
    path.parent.mkdir(parents=True, exist_ok=True)
    tiles = [
        Tile(_image(result.path), [(f"{result.rank}   {result.score:.3f}", "black")], name=_name(result.path))
        for result in results
    ]
    title, query = (text or "", None) if image is None else (_name(image), fit(_image(image), _SIDE))
    draw_contact_sheet(
        path, title, [("best first: file, rank, similarity", tiles)], figure=query, side=_SIDE, columns=_COLUMNS
    )


def _image(path: str | Path) -> np.ndarray:
    try:
        return decode_pixels(Path(path).expanduser().read_bytes())
    except (OSError, tf.errors.OpError) as error:
        return message_image(getattr(error, "strerror", None) or "cannot be decoded", _SIDE)


def _name(path: str | Path) -> str:
    return printable(Path(path).name)
