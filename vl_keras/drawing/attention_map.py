"""Attention maps in color over a grey copy of the image, and the scale that says which color is which number."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib import colormaps
from PIL import Image, ImageDraw

from vl_keras.drawing.sheet_text import sheet_font

_GROUND = 0.6  # brightness of the grey image under the colors, as a share of its own
_OPAQUE = (0.45, 0.8)  # how much of a pixel is color where the map is zero and where it is largest
_MID_GREY = 110.0  # what the colors of the scale are laid over
_MARK = (0, 190, 255)  # a hue that the colors of the map do not have


def overlay(image: Image.Image, weights: np.ndarray, mark: bool = True) -> Image.Image:
    """Lays a map over a grey, darkened copy of an image, in the colors of matplotlib's `inferno`.

    The colors run from black over red to pale yellow, and become lighter in equal steps, so the lightest part of the
    result is the largest part of the map, whatever the image shows there.

    Args:
        image: RGB image.
        weights: `(rows, columns)`, at least zero: a cell for each part of the image in a grid of this shape. It is
            scaled by its largest value and upsampled so that the centre of each cell keeps its place.
        mark: whether to draw a cross, open in the middle, on the largest cell.

    Returns:
        Image of the same size.
    """
    largest = float(weights.max(initial=0.0))
    share = np.asarray(weights, np.float32) / largest if largest > 0 else np.zeros_like(weights, np.float32)
    heat = np.asarray(Image.fromarray(share).resize(image.size, Image.Resampling.BILINEAR))
    drawn = Image.fromarray(_colored(np.asarray(image.convert("L"), np.float32), np.clip(heat, 0.0, 1.0)))
    if mark and largest > 0:
        rows, columns = weights.shape
        row, column = np.unravel_index(np.argmax(weights), weights.shape)
        x, y = (column + 0.5) / columns * image.width, (row + 0.5) / rows * image.height
        arm = max(5, min(image.size) // 24)
        near = max(3, min(image.width // columns, image.height // rows, min(image.size) // 5) // 2)
        pen = ImageDraw.Draw(drawn)
        for width, color in ((arm // 2 + 2, "black"), (max(2, arm // 4), _MARK)):
            for start, end in ((-near - arm, -near), (near, near + arm)):  # open in the middle, so the peak shows
                pen.line((x + start, y, x + end, y), color, width)
                pen.line((x, y + start, x, y + end), color, width)
    return drawn


def scale_bar(width: int, height: int, lowest: str, highest: str, font_size: int) -> Image.Image:
    """The colors of `overlay` between the numbers of both ends.

    Args:
        width, height: in pixels, with the numbers.
        lowest: number that the darkest color stands for.
        highest: number that the lightest color stands for.
        font_size: of the numbers, in pixels.

    Returns:
        RGB image on white.
    """
    bar = Image.new("RGB", (width, height), "white")
    pen = ImageDraw.Draw(bar)
    font = sheet_font(lowest + highest, font_size)
    left = round(pen.textlength(lowest, font)) + font_size // 3
    right = width - round(pen.textlength(highest, font)) - font_size // 3
    pen.text((0, height / 2), lowest, "black", font, anchor="lm")
    pen.text((width, height / 2), highest, "black", font, anchor="rm")
    if right - left > 1:
        heat = np.linspace(0, 1, right - left, dtype=np.float32)[None].repeat(max(1, height // 2), axis=0)
        colors = Image.fromarray(_colored(np.full_like(heat, _MID_GREY), heat))
        bar.paste(colors, (left, (height - colors.height) // 2))
    return bar


def overlay_with_scale(
    image: Image.Image, weights: np.ndarray, font_size: int, is_share: bool = True, mark: bool = True
) -> Image.Image:
    """An `overlay` above its scale, which ends at the map's largest number.

    Args:
        image: RGB image.
        weights: `(rows, columns)`; see `overlay`.
        font_size: of the scale's numbers, in pixels.
        is_share: whether the weights are shares of a whole, written as percent; otherwise the scale ends at 1.
        mark: whether to draw a cross on the largest cell.

    Returns:
        Image of the same width, higher by `scale_height(font_size)`.
    """
    drawn = Image.new("RGB", (image.width, image.height + scale_height(font_size)), "white")
    drawn.paste(overlay(image, weights, mark), (0, 0))
    ends = ("0 %", percent(float(weights.max(initial=0.0)))) if is_share else ("0", "1")
    drawn.paste(scale_bar(image.width, scale_height(font_size) - 2, *ends, font_size), (0, image.height + 2))
    return drawn


def scale_height(font_size: int) -> int:
    """Pixels that a scale adds below a map."""
    return font_size * 3 // 2 + 2


def percent(share: float) -> str:
    """A share as percent, with one digit after the point below 10 %."""
    return f"{100 * share:.0f} %" if share >= 0.0995 else f"{100 * share:.1f} %"


def fit(image: np.ndarray, side: int) -> Image.Image:
    """Resizes a `(height, width, 3)` uint8 image: the longer side to `side` pixels, the other to a quarter at least."""
    return Image.fromarray(image).resize(fitted_size(image, side), Image.Resampling.LANCZOS)


def fitted_size(image: np.ndarray, side: int) -> tuple[int, int]:
    """Width and height that `fit` gives an image."""
    height, width = image.shape[:2]
    scale = side / max(height, width)
    return round(max(width * scale, side / 4)), round(max(height * scale, side / 4))


def _colored(grey: np.ndarray, heat: np.ndarray) -> np.ndarray:
    """`(height, width, 3)` uint8 of a grey image, 0 to 255, and a map, 0 to 1, both `(height, width)`."""
    inferno: Any = colormaps["inferno"]
    opaque = (_OPAQUE[0] + (_OPAQUE[1] - _OPAQUE[0]) * heat)[..., None]
    pixels = (1 - opaque) * _GROUND * grey[..., None] + opaque * 255 * inferno(heat)[..., :3]
    return np.clip(pixels, 0, 255).astype(np.uint8)
