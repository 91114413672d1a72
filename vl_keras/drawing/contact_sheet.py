"""A sheet of images in sections: tiles with lines of text below, or bands with text and small images beside."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageDraw

from vl_keras.drawing.attention_drawing import fit
from vl_keras.drawing.sheet_text import cut_text, sheet_font, wrap_text

_GAP = 12
_LINE = 15  # pixels of a line of small text
_SMALL, _LARGE = 11, 14
_LETTER = 6  # pixels of a small letter, on average
_FRAME = 5
_BAND_SIDE = 170  # pixels of the longer side of a band's image
_BAND_LETTER = 0.64  # width of a letter as a share of the font size, on average
_LABEL = 13  # font size of the labels in a band
RIGHT, WRONG = "green", "firebrick"  # colors of text and frames


class Tile(NamedTuple):
    """An image with text below it.

    Attributes:
        image: `(height, width, 3)` uint8.
        lines: `(text, color)` pairs; long ones are wrapped.
        frame: color of a frame around the image, or None.
    """

    image: np.ndarray
    lines: Sequence[tuple[str, str]]
    frame: str | None = None


class Band(NamedTuple):
    """An image with text beside it, and below the text a strip of small images with a label each.

    Attributes:
        image: `(height, width, 3)` uint8.
        lines: `(text, color, font size)` triples; long ones are wrapped.
        strip: `(label, small image)` pairs; the images have one size and are drawn in it.
    """

    image: np.ndarray
    lines: Sequence[tuple[str, str, int]]
    strip: Sequence[tuple[str, Image.Image]] = ()


def draw_contact_sheet(
    path: str | Path,
    title: str,
    sections: Sequence[tuple[str, Sequence[Tile | Band]]],
    notes: Sequence[str] = (),
    figure: Image.Image | None = None,
    side: int = 220,
    columns: int = 6,
) -> None:
    """Writes a PNG: a title, notes beside a figure, then the sections.

    Args:
        path: PNG file to write.
        title: first line of the sheet.
        sections: `(heading, entries)` pairs, drawn one below the other. Entries are all tiles, several in a row, or all
            bands, one below the other. An empty heading is left out.
        notes: lines of text below the title.
        figure: image to the left of the notes, or None.
        side: pixels of the longer side of a tile's image.
        columns: tiles in a row; `side` and `columns` determine the width of the sheet.
    """
    width = columns * (side + _GAP) + _GAP
    pieces = [_heading(title, width, _LARGE + 2)]
    if notes or figure is not None:
        pieces.append(_notes(notes, figure, width))
    for heading, entries in sections:
        if heading:
            pieces.append(_heading(heading, width, _LARGE, line=True))
        tiles = [entry for entry in entries if isinstance(entry, Tile)]
        pieces += [_row(tiles[start : start + columns], side, width) for start in range(0, len(tiles), columns)]
        pieces += [_band(entry, width) for entry in entries if isinstance(entry, Band)]
    sheet = Image.new("RGB", (width, sum(piece.height for piece in pieces) + _GAP), "white")
    top = 0
    for piece in pieces:
        sheet.paste(piece, (0, top))
        top += piece.height
    sheet.save(path)


def message_image(message: str, side: int) -> np.ndarray:
    """A grey square with a message, to draw instead of an image that cannot be read: `(side, side, 3)` uint8."""
    image = Image.new("RGB", (side, side), "lightgray")
    lines = wrap_text(message, side // 8)
    ImageDraw.Draw(image).text((_GAP, _GAP), "\n".join(lines), "black", sheet_font(message, _LARGE))
    return np.asarray(image)


def _heading(text: str, width: int, size: int, line: bool = False) -> Image.Image:
    rows = wrap_text(text, (width - 2 * _GAP) * 10 // (6 * size)) or [""]
    piece = Image.new("RGB", (width, len(rows) * (size + 5) + 2 * _GAP), "white")
    pen = ImageDraw.Draw(piece)
    if line:
        pen.line((_GAP, 4, width - _GAP, 4), "lightgray")
    for number, row in enumerate(rows):
        pen.text((_GAP, _GAP + number * (size + 5)), row, "black", sheet_font(text, size))
    return piece


def _notes(notes: Sequence[str], figure: Image.Image | None, width: int) -> Image.Image:
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


def _row(tiles: Sequence[Tile], side: int, width: int) -> Image.Image:
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


def _band(band: Band, width: int) -> Image.Image:
    image, left = fit(band.image, _BAND_SIDE), _BAND_SIDE + 2 * _GAP
    lines = [
        (row, color, size)
        for text, color, size in band.lines
        for row in wrap_text(text, int((width - left) / (_BAND_LETTER * size)))
    ]
    text_height = sum(size + 5 for _, _, size in lines) + 4
    across, tile_width, tile_height = 1, 0, 0
    if band.strip:
        tile_width, tile_height = band.strip[0][1].width + 6, band.strip[0][1].height + _LABEL + 10
        across = max(1, (width - left) // tile_width)
    rows = -(-len(band.strip) // across)
    height = max(image.height, text_height + rows * tile_height) + 2 * _GAP
    piece = Image.new("RGB", (width, height), "white")
    pen = ImageDraw.Draw(piece)
    pen.line((0, 0, width, 0), "lightgray")
    piece.paste(image, (_GAP, _GAP))
    y = _GAP
    for line, color, size in lines:
        pen.text((left, y), line, color, sheet_font(line, size))
        y += size + 5
    for place, (label, small) in enumerate(band.strip):
        x, top = left + place % across * tile_width, _GAP + text_height + place // across * tile_height
        font = sheet_font(label, _LABEL)
        pen.text((x, top), cut_text(pen, label, font, small.width), "black", font)
        piece.paste(small, (x, top + _LABEL + 4))
    return piece
