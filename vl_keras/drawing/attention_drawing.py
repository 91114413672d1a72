"""Attention maps over images, and a sheet that explains one caption word by word."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from vl_keras.drawing.sheet_text import cut_text, sheet_font, wrap_text

_TILE = 168  # pixels of a tile's longer side
_COLUMNS = 6
_GAP = 10
_LABEL = 22  # pixels of a word's line
_SIDE = 84  # pixels of the column that names the rows
_HEAD, _HEAD_LETTER = 18, 11  # size of the heading, and pixels of its letters on average
_NOTE_LETTER = 7
_DARK = 0.3  # brightness of the image where the map is zero
_GLOW = np.array([255, 176, 32], np.float32)  # color that is added where the map is high
_MARK = (255, 32, 96)
NOTE = "bright: high attention\ncross: largest weight\ngrey: probability of the word"
_NO_MAPS = "no maps: the image tokens of this encoder have no place in the image"


class WordMaps(Protocol):
    """A caption with a map for each of its W words.

    Attributes:
        caption: the caption.
        words: its words.
        attention: `(W, rows, columns)` attention weights of the image's grid cells, or None.
        probabilities: `(W,)` probability of each word, or None.
        grad_cam: `(W, rows, columns)`, or None.
    """

    @property
    def caption(self) -> str: ...

    @property
    def words(self) -> Sequence[str]: ...

    @property
    def attention(self) -> np.ndarray | None: ...

    @property
    def probabilities(self) -> np.ndarray | None: ...

    @property
    def grad_cam(self) -> np.ndarray | None: ...


def overlay(image: Image.Image, weights: np.ndarray, mark: bool = True) -> Image.Image:
    """Darkens an image where a map is low, and adds a glow where it is high.

    Args:
        image: RGB image.
        weights: `(rows, columns)`, at least zero: a cell for each part of the image in a grid of this shape. It is
            scaled by its largest value and upsampled so that the centre of each cell keeps its place.
        mark: whether to draw a cross on the largest cell.

    Returns:
        Image of the same size.
    """
    largest = float(weights.max(initial=0.0))
    share = np.asarray(weights, np.float32) / largest if largest > 0 else np.zeros_like(weights, np.float32)
    upsampled = Image.fromarray(share).resize(image.size, Image.Resampling.BICUBIC)
    heat = np.clip(np.asarray(upsampled), 0.0, 1.0)[..., None]
    glow = 0.4 * heat**2
    pixels = np.asarray(image, np.float32) * (_DARK + (1 - _DARK) * heat) * (1 - glow) + _GLOW * glow
    drawn = Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))
    if mark and largest > 0:
        rows, columns = weights.shape
        row, column = np.unravel_index(np.argmax(weights), weights.shape)
        x, y = (column + 0.5) / columns * image.width, (row + 0.5) / rows * image.height
        pen = ImageDraw.Draw(drawn)
        for width, color in ((4, "white"), (2, _MARK)):
            pen.line((x - 5, y, x + 5, y), color, width)
            pen.line((x, y - 5, x, y + 5), color, width)
    return drawn


def fit(image: np.ndarray, side: int) -> Image.Image:
    """Resizes a `(height, width, 3)` uint8 image: the longer side to `side` pixels, the other to a quarter at least."""
    full = Image.fromarray(image)
    scale = side / max(full.size)
    width, height = (round(max(length * scale, side / 4)) for length in full.size)
    return full.resize((width, height), Image.Resampling.LANCZOS)


def draw_explanation(
    explanation: WordMaps, image: np.ndarray, path: str | Path, title: str = "", note: str = NOTE
) -> None:
    """Writes an `explanation_sheet` to the PNG file `path`."""
    explanation_sheet(explanation, image, title, note).save(path)


def explanation_sheet(explanation: WordMaps, image: np.ndarray, title: str = "", note: str = NOTE) -> Image.Image:
    """Draws an image and its caption, then a tile with the attention map of each word.

    Above the tile is the word and, if known, its probability; below it, if given, a tile with the word's Grad-CAM. Each
    map is scaled by its own largest value, and a cross marks its largest cell.

    Args:
        explanation: caption and maps.
        image: `(height, width, 3)` uint8.
        title: e.g. the image's file name.
        note: lines that explain the tiles and name the model's other inputs.

    Returns:
        The sheet.
    """
    tile = fit(image, _TILE)
    large = fit(image, 2 * _TILE)
    maps_by_row = {"attention": explanation.attention, "Grad-CAM": explanation.grad_cam}
    rows = {name: maps for name, maps in maps_by_row.items() if maps is not None}
    words = explanation.words
    if words and not rows:
        note = _NO_MAPS + note.removeprefix(NOTE)
    probabilities = [None] * len(words) if explanation.probabilities is None else explanation.probabilities
    columns = max(1, min(_COLUMNS, len(words)))
    blocks = [range(start, min(start + columns, len(words))) for start in range(0, len(words), columns)]
    block_height = _LABEL + len(rows) * (tile.height + 4) + _GAP
    left = _SIDE + large.width + 2 * _GAP
    width = max(_SIDE + columns * (tile.width + _GAP) + _GAP, left + 460)
    caption = explanation.caption or "(an empty caption)"
    heading = wrap_text(caption, (width - left - _GAP) // _HEAD_LETTER)
    notes = [row for line in note.split("\n") for row in wrap_text(line, (width - left - _GAP) // _NOTE_LETTER)]
    top = max(large.height, 40 + 26 * len(heading) + 20 * len(notes)) + 3 * _GAP
    sheet = Image.new("RGB", (width, top + len(blocks) * block_height), "white")
    pen = ImageDraw.Draw(sheet)
    sheet.paste(large, (_SIDE, _GAP))
    pen.text((left, _GAP), title, "gray", sheet_font(title, 13))
    for number, line in enumerate(heading):
        pen.text((left, _GAP + 26 + 26 * number), line, "black", sheet_font(caption, _HEAD))
    pen.text((left, _GAP + 40 + 26 * len(heading)), "\n".join(notes), "gray", sheet_font(note, 13), spacing=6)
    for number, block in enumerate(blocks):
        y = top + number * block_height
        for row, name in enumerate(rows):
            pen.text((_GAP, y + _LABEL + row * (tile.height + 4) + 4), name, "gray", ImageFont.load_default(14))
        for column, place in enumerate(block):
            x = _SIDE + column * (tile.width + _GAP)
            _word(pen, x, y, tile.width, words[place], probabilities[place])
            for row, maps in enumerate(rows.values()):
                sheet.paste(overlay(tile, maps[place]), (x, y + _LABEL + row * (tile.height + 4)))
    return sheet


def _word(pen: ImageDraw.ImageDraw, x: int, y: int, width: int, word: str, probability: float | None) -> None:
    font, small = sheet_font(word, 14), ImageFont.load_default(13)
    number = "" if probability is None else f"{probability:.2f}"
    room = width - pen.textlength(number, small) - 6
    pen.text((x, y), cut_text(pen, word, font, room), "black", font)
    pen.text((x + width, y + 2), number, "gray", small, anchor="ra")
