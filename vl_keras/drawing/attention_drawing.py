"""A sheet that explains one prediction word by word, with attention maps over the image."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np
from PIL import Image, ImageDraw

from vl_keras.drawing.attention_map import fit, fitted_size, overlay_with_scale, scale_height
from vl_keras.drawing.sheet_limits import MAX_SIDE, and_more, choose_columns
from vl_keras.drawing.sheet_text import cut_text, sheet_font, wrap_text

# A sheet of three columns is 780 pixels wide: on a phone of 390 pixels, its letters are half as large.
_TILE, _COLUMNS, _GAP = 248, 3, 9
_WORD, _NOTE, _HEAD = 24, 20, 28  # pixels of the letters: words, notes and numbers, caption
_MOST_LINES = 8  # of each text above the tiles
_NO_MAPS = "no maps: the image tokens of this encoder have no place in the image"
_CROSS = "blue cross: the region with the largest weight"
_PROBABILITY = "number beside a word: its probability given the words before it"


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


class _Kind(NamedTuple):
    """One kind of map: what its numbers are, and the maps `(W, rows, columns)`."""

    legend: str
    maps: np.ndarray
    is_share: bool


def draw_explanation(
    explanation: WordMaps, image: np.ndarray, path: str | Path, title: str = "", note: str = ""
) -> None:
    """Writes an `explanation_sheet` to the PNG file `path`."""
    explanation_sheet(explanation, image, title, note).save(path)


def explanation_sheet(explanation: WordMaps, image: np.ndarray, title: str = "", note: str = "") -> Image.Image:
    """Draws an image and its caption, then a tile with the attention map of each word.

    Above a tile is its word and, if known, the word's probability; below it the scale of the map, whose right end is
    the map's largest weight; then, if given, the word's Grad-CAM with its scale. A cross marks the largest cell. No
    sheet is larger than `MAX_SIDE` pixels; words that do not fit are counted.

    Args:
        explanation: caption and maps.
        image: `(height, width, 3)` uint8.
        title: e.g. the image's file name.
        note: lines about what was explained, e.g. the model's other inputs.

    Returns:
        The sheet.
    """
    kinds, words = _kinds(explanation), explanation.words
    size = fitted_size(image, _TILE)
    block = _WORD + 10 + len(kinds) * (size[1] + scale_height(_NOTE) + 2) + 2 * _GAP
    caption = explanation.caption or "(an empty caption)"
    head = _Head(image, caption, _legend(explanation, kinds, note), title, _width(_COLUMNS))
    top = head.height
    most = (MAX_SIDE - _GAP) // (_TILE + _GAP)
    columns, shown = choose_columns(len(words), _COLUMNS, most, (MAX_SIDE - top - _NOTE - 2 * _GAP) // block)
    columns = max(columns, _COLUMNS)
    blocks = [range(start, min(start + columns, shown)) for start in range(0, shown, columns)]
    rest = len(words) - shown
    height = top + len(blocks) * block + (_NOTE + 2 * _GAP if rest else 0)
    sheet = Image.new("RGB", (_width(columns), height), "white")
    head.draw(sheet)
    pen, tile = ImageDraw.Draw(sheet), fit(image, _TILE)
    probabilities = explanation.probabilities
    for number, block_words in enumerate(blocks):
        for column, place in enumerate(block_words):
            x, y = _GAP + column * (_TILE + _GAP), top + number * block
            chance = "" if probabilities is None else f"{probabilities[place]:.2f}"
            _word(pen, (x, y), words[place], chance)
            y += _WORD + 10
            for kind in kinds:
                drawn = overlay_with_scale(tile, kind.maps[place], _NOTE, kind.is_share)
                sheet.paste(drawn, (x, y))
                y += drawn.height + 2
    if rest:
        pen.text((_GAP, height - _NOTE - _GAP), and_more(rest), "black", sheet_font("", _NOTE))
    return sheet


class _Head:
    """The image and the texts above the tiles, `width` pixels wide."""

    def __init__(self, image: np.ndarray, caption: str, legend: Sequence[str], title: str, width: int) -> None:
        pen, room = ImageDraw.Draw(Image.new("RGB", (1, 1))), width - 2 * _GAP
        self._image = fit(image, 2 * room // 3)
        texts: list[tuple[str, str, int, int] | None] = [(title, "dimgray", _NOTE, 1)]
        texts += [(caption, "black", _HEAD, _MOST_LINES), None]
        texts += [(line, "dimgray", _NOTE, _MOST_LINES) for line in legend]
        self._lines: list[tuple[str, str, int] | None] = []  # None stands for the image
        for each in texts:
            if each is None:
                self._lines.append(None)
                continue
            text, color, size, most = each
            rows = [text] if most == 1 else wrap_text(text, room * 10 // (6 * size), most)
            self._lines += [(cut_text(pen, row, sheet_font(row, size), room), color, size) for row in rows if row]
        self.height = 2 * _GAP + sum(self._height(line) for line in self._lines)

    def draw(self, sheet: Image.Image) -> None:
        """Draws at the top left of a sheet."""
        pen, y = ImageDraw.Draw(sheet), _GAP
        for line in self._lines:
            if line is None:
                sheet.paste(self._image, (_GAP, y + _GAP))
            else:
                pen.text((_GAP, y), line[0], line[1], sheet_font(line[0], line[2]))
            y += self._height(line)

    def _height(self, line: tuple[str, str, int] | None) -> int:
        return self._image.height + 3 * _GAP if line is None else line[2] * 4 // 3


def _kinds(explanation: WordMaps) -> list[_Kind]:
    kinds = []
    for maps, is_share in ((explanation.attention, True), (explanation.grad_cam, False)):
        if maps is None or np.ndim(maps) != 3:  # tokens without a place in the image
            continue
        regions = f"each of {maps.shape[1]} x {maps.shape[2]} regions"
        legend = (
            f"share of the word's attention weight in {regions}"
            if is_share
            else f"Grad-CAM: how much {regions} speaks for the word, from 0 to the largest, 1"
        )
        kinds.append(_Kind(legend, maps, is_share))
    return kinds


def _legend(explanation: WordMaps, kinds: Sequence[_Kind], note: str) -> list[str]:
    lines = [line for line in note.split("\n") if line]
    if not kinds:
        return [*([_NO_MAPS] * bool(explanation.words)), *lines]
    names = ["maps"] if len(kinds) == 1 else ["upper maps", "lower maps"]
    lines += [f"{name}: {kind.legend}" for name, kind in zip(names, kinds, strict=True)]
    lines.append("each map has its own scale, below it; " + _CROSS)
    return [*lines, _PROBABILITY] if explanation.probabilities is not None else lines


def _width(columns: int) -> int:
    return columns * (_TILE + _GAP) + _GAP


def _word(pen: ImageDraw.ImageDraw, place: tuple[int, int], word: str, number: str) -> None:
    font, small = sheet_font(word, _WORD), sheet_font("", _NOTE)
    room = _TILE - pen.textlength(number, small) - 8
    pen.text(place, cut_text(pen, word, font, room), "black", font)
    pen.text((place[0] + _TILE, place[1] + 3), number, "dimgray", small, anchor="ra")
