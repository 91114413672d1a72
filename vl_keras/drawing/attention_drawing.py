"""Maps laid over images, and the sheet that shows one caption word by word."""

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from vl_keras.drawing.sheet_text import sheet_font, wrap_text

_TILE = 168  # pixels of a tile's longer side
_COLUMNS = 6
_GAP = 10
_LABEL = 22  # pixels of a word's line
_SIDE = 84  # pixels of the column that names the rows
_HEAD, _HEAD_LETTER = 18, 11  # size of the heading, and pixels of its letters on average
_NOTE_LETTER = 7
_DARK = 0.3  # how bright the image stays where the map is zero
_GLOW = np.array([255, 176, 32], np.float32)  # laid over it where the map is high
_MARK = (255, 32, 96)
NOTE = "bright: where the model looked\ncross: the peak\nin grey: the word's probability"


def overlay(image, weights, mark=True):
    """An image, dark where a map is low and glowing where it is high.

    Args:
        image: `PIL.Image`, RGB.
        weights: `(rows, columns)`, at least zero; scaled to its own largest value, and upsampled so that each cell's
            centre keeps its place.
        mark: a cross on the largest cell.

    Returns:
        `PIL.Image` of the same size.
    """
    largest = float(weights.max(initial=0.0))
    share = np.asarray(weights, np.float32) / largest if largest > 0 else np.zeros_like(weights, np.float32)
    heat = Image.fromarray(share).resize(image.size, Image.Resampling.BICUBIC)
    heat = np.clip(np.asarray(heat), 0.0, 1.0)[..., None]
    glow = 0.4 * heat**2
    drawn = np.asarray(image, np.float32) * (_DARK + (1 - _DARK) * heat) * (1 - glow) + _GLOW * glow
    drawn = Image.fromarray(np.uint8(np.clip(drawn, 0, 255)))
    if mark and largest > 0:
        rows, columns = weights.shape
        row, column = np.unravel_index(np.argmax(weights), weights.shape)
        x, y = (column + 0.5) / columns * image.width, (row + 0.5) / rows * image.height
        pen = ImageDraw.Draw(drawn)
        for width, color in ((4, "white"), (2, _MARK)):
            pen.line((x - 5, y, x + 5, y), color, width)
            pen.line((x, y - 5, x, y + 5), color, width)
    return drawn


def fit(image, side):
    """A `(height, width, 3)` uint8 image as `PIL.Image`: longer side `side` pixels, the other at least a quarter."""
    image = Image.fromarray(image)
    scale = side / max(image.size)
    size = [round(max(length * scale, side / 4)) for length in image.size]
    return image.resize(size, Image.Resampling.LANCZOS)


def draw_explanation(explanation, image, path, title="", note=NOTE):
    """Writes `explanation_sheet` as a PNG file, `path`."""
    explanation_sheet(explanation, image, title, note).save(path)


def explanation_sheet(explanation, image, title="", note=NOTE):
    """Draws an image and its caption, then for each word where the model looked.

    Each word has its probability, where known, beside it and a tile with its attention, where there is one; below that,
    where there is one, its Grad-CAM.
    A cross marks the largest cell. Every tile is scaled to its own largest value.

    Args:
        explanation: an `Explanation`.
        image: `(height, width, 3)` uint8.
        title: e.g. the image's file name.
        note: lines that say how to read the tiles, and what else the model was shown.

    Returns:
        `PIL.Image`.
    """
    tile = fit(image, _TILE)
    large = fit(image, 2 * _TILE)
    rows = {"attention": explanation.attention, "Grad-CAM": explanation.grad_cam}
    rows = {name: maps for name, maps in rows.items() if maps is not None}
    words, probabilities = explanation.words, explanation.probabilities
    if probabilities is None:
        probabilities = [None] * len(words)
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
        for line, name in enumerate(rows):
            pen.text((_GAP, y + _LABEL + line * (tile.height + 4) + 4), name, "gray", ImageFont.load_default(14))
        for column, place in enumerate(block):
            x = _SIDE + column * (tile.width + _GAP)
            _word(pen, x, y, tile.width, words[place], probabilities[place])
            for line, maps in enumerate(rows.values()):
                sheet.paste(overlay(tile, maps[place]), (x, y + _LABEL + line * (tile.height + 4)))
    return sheet


def _word(pen, x, y, width, word, probability):
    font, small = sheet_font(word, 14), ImageFont.load_default(13)
    number = "" if probability is None else f"{probability:.2f}"
    room = width - pen.textlength(number, small) - 6
    while word and pen.textlength(word, font) > room:
        word = word[:-2] + "…" if len(word) > 2 else ""
    pen.text((x, y), word, "black", font)
    pen.text((x + width, y + 2), number, "gray", small, anchor="ra")
