"""Draws a few images of a split with their captions and the attention weights of each word."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import tensorflow as tf
from PIL import Image, ImageDraw

from vl_keras.data.image_ops import decode_image, resize_uint8
from vl_keras.drawing.attention_map import overlay_with_scale, scale_height
from vl_keras.drawing.sheet_text import sheet_font
from vl_keras.encoders.token_layout import token_layout
from vl_keras.tasks.writing.caption_writer import CaptionWriter

if TYPE_CHECKING:
    from vl_keras.models.captioner import Captioner
    from vl_keras.tasks.captioning import CaptioningTask

_IMAGES = 4
_TILE = 112  # pixels of a word's image
_TEXT = 18  # pixels of a line of text
_SCALE = 11  # pixels of the letters of a scale


class SampleCaptions:
    """Draws the first images of a split with captions and attention; can be called again while training goes on.

    Args:
        task: a `CaptioningTask`.
        captioner: its `Captioner`.
        split: name.
    """

    def __init__(self, task: CaptioningTask, captioner: Captioner, split: str) -> None:
        source = task.source(split)
        self._tokenizer = task.tokenizer
        self._layout = token_layout(captioner.image_encoder, task.config.data.image_size)
        batch_size = min(_IMAGES, len(source))
        self._inputs, indices = next(iter(task.evaluation_data(captioner, split, batch_size)))
        contents = source.read_images(indices.numpy())
        self._images = [_image(content, task.config.data.image_size) for content in contents]
        settings = {**task.generation_settings(), "return_attention": True}
        self._write = CaptionWriter(task.prepare(captioner), task.tokenizer, settings, batch_size)

    def __call__(self) -> tuple[list[np.ndarray], list[str]]:
        """Returns uint8 images `(height, width, 3)`, and the caption of each."""
        captions, written = self._write(dict(self._inputs))
        texts = [row[0] for row in captions]
        drawn = [
            self._draw(image, text, tokens[0], attention[0])
            for image, text, tokens, attention in zip(
                self._images, texts, written.tokens, written.attention, strict=True
            )
        ]
        return drawn, texts

    def _draw(self, image: np.ndarray, text: str, tokens: np.ndarray, attention: np.ndarray) -> np.ndarray:
        """One sheet: the image above its caption, then a tile per token with its attention over the image, `(L, R)`."""
        # Attention to tokens without a place in the image cannot be drawn.
        count = int(np.sum(tokens > self._tokenizer.END)) if self._layout.is_grid else 0
        tile = Image.fromarray(image).resize((_TILE, _TILE))
        across = max(1, min(count, 8))
        width = max(_TILE * across, image.shape[1])
        top = image.shape[0] + _TEXT
        rows, block = -(-count // across), _TEXT + _TILE + scale_height(_SCALE)
        sheet = Image.new("RGB", (width, top + rows * block), "white")
        sheet.paste(Image.fromarray(image), (0, 0))
        pen = ImageDraw.Draw(sheet)
        pen.text((2, image.shape[0] + 1), text, "black", sheet_font(text, 13))
        for place in range(count):
            x, y = _TILE * (place % across), top + block * (place // across)
            drawn = overlay_with_scale(tile, self._layout.arrange(attention[place]), _SCALE)
            sheet.paste(drawn, (x, y + _TEXT))
            token = self._tokenizer.vocab[tokens[place]]
            pen.text((x + 2, y + 1), token, "black", sheet_font(token, 13))
        return np.asarray(sheet)


def _image(content: bytes, image_size: tuple[int, int]) -> np.ndarray:
    """The uint8 image `(height, width, 3)` of an image file's bytes; grey if they cannot be read."""
    try:
        return resize_uint8(decode_image(tf.constant(content)), image_size).numpy()
    except tf.errors.OpError:
        return np.full((*image_size, 3), 128, np.uint8)
