"""What a search found, drawn under what was asked."""

from pathlib import Path

import numpy as np
import tensorflow as tf
from PIL import Image, ImageDraw

from vl_keras.data.image_files import printable
from vl_keras.data.image_ops import decode_image
from vl_keras.drawing.attention_drawing import fit
from vl_keras.drawing.sheet_text import sheet_font, wrap_text
from vl_keras.drawing.tile_sheet import Tile, draw_tile_sheet

_SIDE, _COLUMNS = 200, 5


def draw_search_sheet(results, path, text=None, image=None):
    """Writes a PNG: the query, then the images that were found, each with its rank, score and file name.

    Args:
        results: list of `SearchResult`; an image that cannot be read any more is a grey tile with the reason.
        path: PNG file to write; its folder is made.
        text: the query, or
        image: the image file that was the query.
    """
    path = Path(path).expanduser()
    path.parent.mkdir(parents=True, exist_ok=True)
    tiles = [
        Tile(_image(result.path), [(f"{result.rank}   {result.score:.3f}", "black"), (_name(result.path), "dimgray")])
        for result in results
    ]
    title, query = (text, None) if image is None else (_name(image), fit(_image(image), _SIDE))
    draw_tile_sheet(path, title, [("rank, score, file", tiles)], figure=query, side=_SIDE, columns=_COLUMNS)


def _image(path):
    try:
        return decode_image(tf.constant(Path(path).expanduser().read_bytes())).numpy()
    except (OSError, tf.errors.OpError) as error:
        tile = Image.new("RGB", (_SIDE, _SIDE), "lightgray")
        lines = wrap_text(getattr(error, "strerror", None) or "cannot be decoded", 24)
        ImageDraw.Draw(tile).text((12, 12), "\n".join(lines), "black", sheet_font("", 14))
        return np.asarray(tile)


def _name(path):
    return printable(Path(path).name)
