"""A sheet of images in sections: tiles with lines of text below, or bands with text and small images beside."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageDraw

from vl_keras.drawing.attention_map import fit, fitted_size
from vl_keras.drawing.sheet_limits import MAX_SIDE, and_more
from vl_keras.drawing.sheet_text import cut_text, sheet_font, wrap_text

_GAP = 12
_LINE = 15  # pixels of a line of small text
_SMALL, _LARGE = 11, 14
_LETTER = 6  # pixels of a small letter, on average
_FRAME = 5
_BAND_SIDE = 170  # pixels of the longer side of a band's image
_BAND_LETTER = 0.64  # width of a letter as a share of the font size, on average
_LABEL = 13  # font size of the labels in a band
_TITLE_LINES, _HEADING_LINES, _NOTE_LINES, _TEXT_LINES = 4, 3, 40, 24  # at most; the last one ends in an ellipsis
_STRIP_ROWS = 12  # at most
_MORE = _LINE + 2 * _GAP  # pixels of the line that counts what does not fit
RIGHT, WRONG = "green", "firebrick"  # colors of text and frames


class Tile(NamedTuple):
    """An image with text below it.

    Attributes:
        image: `(height, width, 3)` uint8.
        lines: `(text, color)` pairs; long ones are wrapped.
        frame: color of a frame around the image, or None.
        name: of the image, e.g. its file; one grey line, cut at its end if it is long.
    """

    image: np.ndarray
    lines: Sequence[tuple[str, str]]
    frame: str | None = None
    name: str = ""


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


class _Row(NamedTuple):
    """A row of entries to draw: tiles side by side, or one band; or a heading, with `entries` empty."""

    heading: str
    entries: Sequence[Tile | Band]


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

    The sheet is at most `MAX_SIDE` pixels wide and high. If the entries do not fit, it gets more columns; those that
    still do not fit are counted in the last line ("and 37 more").

    Args:
        path: PNG file to write.
        title: first line of the sheet.
        sections: `(heading, entries)` pairs, drawn one below the other. Entries are all tiles, several in a row, or all
            bands, one below the other. An empty heading is left out.
        notes: lines of text below the title.
        figure: image to the left of the notes, or None.
        side: pixels of the longer side of a tile's image.
        columns: preferred number of tiles in a row; `side` and `columns` determine the width of the sheet.
    """
    most = max(columns, (MAX_SIDE - _GAP) // (side + _GAP))
    total = sum(len(entries) for _, entries in sections)
    heights = {id(entry): _tile_height(entry, side) for _, entries in sections for entry in entries if _is_tile(entry)}
    best: tuple[int, int, list[_Row], Image.Image] | None = None
    for count in range(columns, most + 1):
        width = count * (side + _GAP) + _GAP
        head = _head(title, notes, figure, width)
        rows = _fitting_rows(sections, count, width, MAX_SIDE - head.height - _GAP, heights)
        shown = sum(len(row.entries) for row in rows)
        if best is None or shown > best[0]:
            best = shown, width, rows, head
        if shown == total:
            break
    assert best is not None
    shown, width, rows, head = best
    pieces = [head, *(_draw_row(row, side, width) for row in rows)]
    if shown < total:
        pieces.append(_heading(and_more(total - shown), width, _LARGE, 1, line=True))
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


def _is_tile(entry: Tile | Band) -> bool:
    return isinstance(entry, Tile)


def _fitting_rows(
    sections: Sequence[tuple[str, Sequence[Tile | Band]]],
    columns: int,
    width: int,
    room: int,
    heights: dict[int, int],
) -> list[_Row]:
    """The first rows of the sections that are together at most `room` pixels high, with the line that counts the rest.

    `heights` has the pixels of each tile, by its `id`.
    """
    rows: list[tuple[int, _Row]] = []
    for heading, entries in sections:
        if heading:
            rows.append((_heading_height(heading, width, _LARGE, _HEADING_LINES), _Row(heading, ())))
        tiles = [entry for entry in entries if isinstance(entry, Tile)]
        for start in range(0, len(tiles), columns):
            beside = tiles[start : start + columns]
            rows.append((max(heights[id(tile)] for tile in beside), _Row("", beside)))
        rows += [(_band_layout(band, width)[-1], _Row("", [band])) for band in entries if isinstance(band, Band)]
    if sum(height for height, _ in rows) <= room:
        return [row for _, row in rows]
    kept, used = [], _MORE
    for height, row in rows:
        if used + height > room:
            break
        used += height
        kept.append(row)
    while kept and not kept[-1].entries:  # a heading without anything below it
        kept.pop()
    return kept


def _draw_row(row: _Row, side: int, width: int) -> Image.Image:
    if not row.entries:
        return _heading(row.heading, width, _LARGE, _HEADING_LINES, line=True)
    tiles = [entry for entry in row.entries if isinstance(entry, Tile)]
    bands = [entry for entry in row.entries if isinstance(entry, Band)]
    return _tiles(tiles, side, width) if tiles else _band(bands[0], width)


def _head(title: str, notes: Sequence[str], figure: Image.Image | None, width: int) -> Image.Image:
    """The title above the notes and the figure."""
    pieces = [_heading(title, width, _LARGE + 2, _TITLE_LINES)]
    if notes or figure is not None:
        pieces.append(_notes(notes, figure, width))
    head = Image.new("RGB", (width, sum(piece.height for piece in pieces)), "white")
    head.paste(pieces[0], (0, 0))
    if len(pieces) > 1:
        head.paste(pieces[1], (0, pieces[0].height))
    return head


def _heading_rows(text: str, width: int, size: int, most: int) -> list[str]:
    return wrap_text(text, (width - 2 * _GAP) * 10 // (6 * size), most) or [""]


def _heading_height(text: str, width: int, size: int, most: int) -> int:
    return len(_heading_rows(text, width, size, most)) * (size + 5) + 2 * _GAP


def _heading(text: str, width: int, size: int, most: int, line: bool = False) -> Image.Image:
    piece = Image.new("RGB", (width, _heading_height(text, width, size, most)), "white")
    pen = ImageDraw.Draw(piece)
    if line:
        pen.line((_GAP, 4, width - _GAP, 4), "lightgray")
    for number, row in enumerate(_heading_rows(text, width, size, most)):
        font = sheet_font(text, size)
        pen.text((_GAP, _GAP + number * (size + 5)), cut_text(pen, row, font, width - 2 * _GAP), "black", font)
    return piece


def _notes(notes: Sequence[str], figure: Image.Image | None, width: int) -> Image.Image:
    left = _GAP + (figure.width + _GAP if figure is not None else 0)
    rows = [row for note in notes for row in wrap_text(note, (width - left) // 7, _NOTE_LINES)]
    if len(rows) > _NOTE_LINES:
        rows = [*rows[: _NOTE_LINES - 1], "…"]
    height = max(len(rows) * (_LINE + 2), figure.height if figure is not None else 0)
    piece = Image.new("RGB", (width, height + _GAP), "white")
    if figure is not None:
        piece.paste(figure, (_GAP, 0))
    pen = ImageDraw.Draw(piece)
    for number, row in enumerate(rows):
        pen.text((left, number * (_LINE + 2)), row, "dimgray", sheet_font(row, _SMALL + 1))
    return piece


def _tile_rows(tile: Tile, side: int) -> list[tuple[str, str]]:
    """The lines below a tile with their colors, without its name."""
    rows = [(row, color) for text, color in tile.lines for row in wrap_text(text, side // _LETTER, _TEXT_LINES)]
    return rows if len(rows) <= _TEXT_LINES else [*rows[: _TEXT_LINES - 1], ("…", rows[-1][1])]


def _tile_height(tile: Tile | Band, side: int) -> int:
    """An upper bound of the pixels of a row in which this tile is the highest."""
    assert isinstance(tile, Tile)
    return side + 4 + _LINE * (len(_tile_rows(tile, side)) + bool(tile.name)) + _GAP


def _tiles(tiles: Sequence[Tile], side: int, width: int) -> Image.Image:
    pen = ImageDraw.Draw(Image.new("RGB", (1, 1)))
    texts = []
    for tile in tiles:
        rows = [(tile.name, "gray")] * bool(tile.name) + _tile_rows(tile, side)
        texts.append([(cut_text(pen, row, sheet_font(row, _SMALL), side), color) for row, color in rows])
    height = max(fitted_size(tile.image, side)[1] for tile in tiles)
    piece = Image.new("RGB", (width, height + 4 + _LINE * max(map(len, texts)) + _GAP), "white")
    pen = ImageDraw.Draw(piece)
    for column, (tile, texts_below) in enumerate(zip(tiles, texts, strict=True)):
        image = fit(tile.image, side)
        left = _GAP + column * (side + _GAP)
        x, y = left + (side - image.width) // 2, height - image.height
        piece.paste(image, (x, y))
        if tile.frame is not None:
            pen.rectangle((x, y, x + image.width - 1, y + image.height - 1), outline=tile.frame, width=_FRAME)
        for number, (row, color) in enumerate(texts_below):
            pen.text((left, height + 4 + number * _LINE), row, color, sheet_font(row, _SMALL))
    return piece


def _band_layout(band: Band, width: int) -> tuple[list[tuple[str, str, int]], int, int, int]:
    """The lines of a band, the pixels that they are high, how many small images are side by side, and its height."""
    left = _BAND_SIDE + 2 * _GAP
    lines = [
        (row, color, size)
        for text, color, size in band.lines
        for row in wrap_text(text, int((width - left) / (_BAND_LETTER * size)), _TEXT_LINES)
    ][: 2 * _TEXT_LINES]
    text_height = sum(size + 5 for _, _, size in lines) + 4
    across, tile_height = 1, 0
    if band.strip:
        across = max(1, (width - left) // (band.strip[0][1].width + 6))
        tile_height = band.strip[0][1].height + _LABEL + 10
    rows = min(-(-len(band.strip) // across), _STRIP_ROWS)
    height = max(fitted_size(band.image, _BAND_SIDE)[1], text_height + rows * tile_height) + 2 * _GAP
    return lines, text_height, across, height


def _band(band: Band, width: int) -> Image.Image:
    image, left = fit(band.image, _BAND_SIDE), _BAND_SIDE + 2 * _GAP
    lines, text_height, across, height = _band_layout(band, width)
    piece = Image.new("RGB", (width, height), "white")
    pen = ImageDraw.Draw(piece)
    pen.line((0, 0, width, 0), "lightgray")
    piece.paste(image, (_GAP, _GAP))
    y = _GAP
    for line, color, size in lines:
        pen.text((left, y), line, color, sheet_font(line, size))
        y += size + 5
    fitting = across * _STRIP_ROWS
    for place, (label, small) in enumerate(band.strip[:fitting]):
        tile_width, tile_height = small.width + 6, small.height + _LABEL + 10
        x, top = left + place % across * tile_width, _GAP + text_height + place // across * tile_height
        font = sheet_font(label, _LABEL)
        if place == fitting - 1 and len(band.strip) > fitting:
            pen.text((x, top), cut_text(pen, and_more(len(band.strip) - place), font, small.width), "black", font)
            break
        pen.text((x, top), cut_text(pen, label, font, small.width), "black", font)
        piece.paste(small, (x, top + _LABEL + 4))
    return piece
