"""A contact sheet of examples of a split, with boxes, captions and the first question: the data before training."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import tensorflow as tf
from PIL import Image, ImageDraw

from vl_keras.data.open_image import decode_pixels, open_image
from vl_keras.data.source import Source
from vl_keras.drawing.attention_map import fit
from vl_keras.drawing.contact_sheet import Tile, draw_contact_sheet, message_image
from vl_keras.drawing.sheet_text import wrap_text
from vl_keras.errors import DataError, printable

Opener = Callable[[bytes, int], tuple[str, Image.Image]]

_COLUMNS = 6
_SIDE = 230  # pixels of the longer side of an image
_CAPTIONS = 5
_LETTERS = 38  # letters in a line
_MAX_LINES = 17
_BOX_COLOR = (255, 0, 160)


def draw_example_sheet(
    source: Source, path: str | Path, title: str = "", count: int = 24, opener: Opener = open_image
) -> None:
    """Writes a PNG of `count` examples spread evenly over `source`, with boxes, captions and the first question.

    Args:
        source: the examples. For an image in its `quarantine`, the reason is drawn instead of the image.
        path: PNG file to write.
        title: first words of the heading.
        count: largest number of examples.
        opener: `open_image`, or what does the same in another process.
    """
    chosen = np.unique(np.linspace(0, len(source) - 1, min(count, len(source))).astype(int))
    tiles = [
        Tile(_image(source, index, opener), _lines(source, index), name=printable(source.image_ids[index]))
        for index in chosen
    ]
    heading = f"{title}: {len(chosen)} of {len(source)} examples"
    draw_contact_sheet(path, heading, [("", tiles)], side=_SIDE, columns=min(_COLUMNS, len(chosen)))


def source_image(source: Source, index: int) -> np.ndarray:
    """`(height, width, 3)` uint8 of a readable example, in its own size."""
    return decode_pixels(source.read_images([index])[0])


def _image(source: Source, index: int, opener: Opener) -> np.ndarray:
    reason = dict(source.quarantine.rows).get(source.image_ids[index])
    if reason:
        return message_image(f"unreadable: {reason}", _SIDE)
    try:
        image = fit(np.asarray(opener(source.read_images([index])[0], _SIDE)[1]), _SIDE)
    except (DataError, tf.errors.OpError) as error:
        return message_image(f"unreadable: {getattr(error, 'message', error)}", _SIDE)
    pen = ImageDraw.Draw(image)
    for item in source.objects[index]:
        y0, x0, y1, x1 = item["bbox"]
        box = (x0 * image.width, y0 * image.height, x1 * image.width, y1 * image.height)
        pen.rectangle(box, outline=_BOX_COLOR)
    return np.asarray(image)


def _lines(source: Source, index: int) -> list[tuple[str, str]]:
    texts = [f"• {caption}" for caption in source.captions[index][:_CAPTIONS]]
    if source.contexts[index]:
        texts.append(f"context: {source.contexts[index]}")
    texts += [f"{row['question']} {row['answer']}" for row in source.questions[index][:1]]
    lines = [line for text in texts for line in wrap_text(text, _LETTERS)]
    if len(lines) >= _MAX_LINES:
        lines = [*lines[: _MAX_LINES - 2], "..."]
    return [(line, "black") for line in lines]
