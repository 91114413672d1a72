"""A sheet of images in sections, each image with lines of text below it."""

from typing import NamedTuple

import numpy as np
import tensorflow as tf
from PIL import Image, ImageDraw

from vl_keras.data.image_ops import decode_image
from vl_keras.drawing.attention_drawing import fit
from vl_keras.drawing.sheet_text import sheet_font, wrap_text

_GAP = 12
_LINE = 15  # pixels a line of small text
_SMALL, _LARGE = 11, 14
_LETTER = 6  # pixels of a small letter, on average
_FRAME = 5
RIGHT, WRONG = "green", "firebrick"  # colors of text and frames


class Tile(NamedTuple):
    """An image with text.

    Attributes:
        image: `(height, width, 3)` uint8.
        lines: list of `(text, color)`, wrapped where they are too long.
        frame: color around the image, or None.
    """

    image: np.ndarray
    lines: list
    frame: str | None = None


def draw_tile_sheet(path, title, sections, notes=(), figure=None, side=220, columns=6):
    """Writes a PNG: a title, notes beside a figure, then the sections.

    Args:
        path: PNG file to write.
        title: string.
        sections: list of `(heading, tiles)`, one below the other.
        notes: strings.
        figure: `PIL.Image`, or None.
        side: pixels of an image's longer side.
        columns: tiles side by side.
    """
    width = columns * (side + _GAP) + _GAP
    pieces = [_heading(title, width, _LARGE + 2)]
    if notes or figure is not None:
        pieces.append(_notes(notes, figure, width))
    for heading, tiles in sections:
        pieces.append(_heading(heading, width, _LARGE, line=True))
        pieces += [_row(tiles[start : start + columns], side, width) for start in range(0, len(tiles), columns)]
    sheet = Image.new("RGB", (width, sum(piece.height for piece in pieces) + _GAP), "white")
    top = 0
    for piece in pieces:
        sheet.paste(piece, (0, top))
        top += piece.height
    sheet.save(path)


def source_image(source, index):
    """`(height, width, 3)` uint8 of a readable example of a `Source`, in its own size."""
    return decode_image(tf.constant(source.read_images([index])[0])).numpy()


def _heading(text, width, size, line=False):
    rows = wrap_text(text, (width - 2 * _GAP) * 10 // (6 * size)) or [""]
    piece = Image.new("RGB", (width, len(rows) * (size + 5) + 2 * _GAP), "white")
    pen = ImageDraw.Draw(piece)
    if line:
        pen.line((_GAP, 4, width - _GAP, 4), "lightgray")
    for number, row in enumerate(rows):
        pen.text((_GAP, _GAP + number * (size + 5)), row, "black", sheet_font(text, size))
    return piece


def _notes(notes, figure, width):
    left = _GAP + (figure.width + _GAP if figure is not None else 0)
    rows = [row for note in notes for row in wrap_text(note, (width - left) // 7)]
    height = max(len(rows) * (_LINE + 2), figure.height if figure is not None else 0)
    piece = Image.new("RGB", (width, height + _GAP), "white")
    if figure is not None:
        piece.paste(figure, (_GAP, 0))
    pen = ImageDraw.Draw(piece)
    for number, row in enumerate(rows):
        pen.text((left, number * (_LINE + 2)), row, "dimgray", sheet_font(row, _SMALL + 1))
    return piece


def _row(tiles, side, width):
    texts = [[(row, color) for text, color in tile.lines for row in wrap_text(text, side // _LETTER)] for tile in tiles]
    images = [fit(tile.image, side) for tile in tiles]
    height = max(image.height for image in images)
    piece = Image.new("RGB", (width, height + 4 + _LINE * max(map(len, texts)) + _GAP), "white")
    pen = ImageDraw.Draw(piece)
    for column, (tile, image, rows) in enumerate(zip(tiles, images, texts, strict=True)):
        left = _GAP + column * (side + _GAP)
        x, y = left + (side - image.width) // 2, height - image.height
        piece.paste(image, (x, y))
        if tile.frame is not None:
            pen.rectangle((x, y, x + image.width - 1, y + image.height - 1), outline=tile.frame, width=_FRAME)
        for number, (row, color) in enumerate(rows):
            pen.text((left, height + 4 + number * _LINE), row, color, sheet_font(row, _SMALL))
    return piece
