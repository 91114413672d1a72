"""What a search found, drawn under what was asked."""

import textwrap
from pathlib import Path

import tensorflow as tf
from PIL import Image, ImageDraw, ImageFont

from vl_keras.data.image_ops import decode_image
from vl_keras.training.attention_drawing import fit

_TILE = 200  # pixels of a thumbnail's longer side
_COLUMNS = 5
_GAP = 14
_LABEL = 40  # pixels of the two lines below a thumbnail
_LETTERS = 80  # of the query, a line


def draw_search_sheet(results, path, text=None, image=None):
    """Writes a PNG: the query, then the pictures that were found, each with its rank, score and file name.

    Args:
        results: list of `SearchResult`; a picture that cannot be read any more is shown as a grey tile with the reason.
        path: PNG file to write; its folder is made.
        text: the query, or
        image: the picture file that was the query.
    """
    path = Path(path).expanduser()
    path.parent.mkdir(parents=True, exist_ok=True)
    heading = textwrap.wrap(text, _LETTERS) if image is None else [Path(image).name]
    query = None if image is None else _thumbnail(image)
    top = 2 * _GAP + 26 * len(heading) + (query.height + _GAP if query is not None else 0)
    rows = -(-len(results) // _COLUMNS)
    width = _GAP + _COLUMNS * (_TILE + _GAP)
    sheet = Image.new("RGB", (width, top + rows * (_TILE + _LABEL + _GAP) + _GAP), "white")
    pen = ImageDraw.Draw(sheet)
    for number, line in enumerate(heading):
        pen.text((_GAP, _GAP + 26 * number), line, "black", ImageFont.load_default(20))
    if query is not None:
        sheet.paste(query, (_GAP, _GAP + 26 * len(heading)))
    pen.line((_GAP, top - _GAP // 2, width - _GAP, top - _GAP // 2), "lightgray")
    for place, result in enumerate(results):
        x = _GAP + place % _COLUMNS * (_TILE + _GAP)
        y = top + _GAP // 2 + place // _COLUMNS * (_TILE + _LABEL + _GAP)
        tile = _thumbnail(result.path)
        sheet.paste(tile, (x + (_TILE - tile.width) // 2, y + _TILE - tile.height))
        pen.text((x, y + _TILE + 3), str(result.rank), "black", ImageFont.load_default(16))
        pen.text((x + _TILE, y + _TILE + 3), f"{result.score:.3f}", "black", ImageFont.load_default(16), anchor="ra")
        pen.text((x, y + _TILE + 23), _cut(pen, Path(result.path).name), "gray", ImageFont.load_default(12))
    sheet.save(path)


def _thumbnail(path):
    try:
        return fit(decode_image(tf.constant(Path(path).expanduser().read_bytes())).numpy(), _TILE)
    except (OSError, tf.errors.OpError) as error:
        reason = getattr(error, "strerror", None) or "cannot be decoded"
        tile = Image.new("RGB", (_TILE, _TILE), "lightgray")
        ImageDraw.Draw(tile).text((_GAP, _GAP), textwrap.fill(reason, 24), "black", ImageFont.load_default(14))
        return tile


def _cut(pen, name):
    font = ImageFont.load_default(12)
    if pen.textlength(name, font) > _TILE:
        while pen.textlength(f"{name}…", font) > _TILE:
            name = name[:-1]
        name += "…"
    return name
