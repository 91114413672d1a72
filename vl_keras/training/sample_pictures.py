"""A few development pictures with what the model writes about them, and where it looks for each word."""

import numpy as np
import tensorflow as tf
from PIL import Image, ImageDraw

from vl_keras.data.image_ops import decode_image, resize_uint8
from vl_keras.data.sheet_text import sheet_font
from vl_keras.encoders.image_encoder import grid_shape
from vl_keras.tasks.caption_writer import CaptionWriter
from vl_keras.training.attention_drawing import overlay
from vl_keras.training.sample_pairs import SamplePairs

_PICTURES = 4
_TILE = 112  # pixels of a word's picture
_TEXT = 18  # pixels of a line of text


class SamplePictures:
    """Draws the first readable pictures of a split, with captions and attention, as often as asked.

    Args:
        task: a `CaptioningTask`.
        captioner: its `Captioner`.
        split: name.
    """

    def __init__(self, task, captioner, split):
        source = task.source(split)
        self._tokenizer = task.tokenizer
        self._grid = grid_shape(captioner.image_encoder, task.config.data.image_size)
        batch_size = min(_PICTURES, len(source))
        self._inputs, indices = next(iter(task.evaluation_data(captioner, split, batch_size)))
        contents = source.read_images(indices.numpy())
        self._pictures = [_picture(content, task.config.data.image_size) for content in contents]
        settings = {**task.generation_settings(), "return_attention": True}
        self._write = CaptionWriter(task.recalling(captioner), task.tokenizer, settings, batch_size)

    def __call__(self):
        """List of uint8 pictures `(height, width, 3)`, and list of their captions."""
        captions, written = self._write(dict(self._inputs))
        texts = [row[0] for row in captions]
        drawn = [
            self._draw(picture, text, tokens[0], attention[0])
            for picture, text, tokens, attention in zip(
                self._pictures, texts, written.tokens, written.attention, strict=True
            )
        ]
        return drawn, texts

    def _draw(self, picture, text, tokens, attention):
        """One sheet: the picture over its caption, then a tile per token with the attention `(L, R)` laid over it."""
        count = int(np.sum(tokens > self._tokenizer.END))
        tile = Image.fromarray(picture).resize((_TILE, _TILE))
        across = max(1, min(count, 8))
        width = max(_TILE * across, picture.shape[1])
        top = picture.shape[0] + _TEXT
        rows = -(-count // across)
        sheet = Image.new("RGB", (width, top + rows * (_TILE + _TEXT)), "white")
        sheet.paste(Image.fromarray(picture), (0, 0))
        pen = ImageDraw.Draw(sheet)
        pen.text((2, picture.shape[0] + 1), text, "black", sheet_font(text, 13))
        for place in range(count):
            x, y = _TILE * (place % across), top + (_TILE + _TEXT) * (place // across)
            sheet.paste(overlay(tile, attention[place].reshape(self._grid)), (x, y + _TEXT))
            token = self._tokenizer.vocab[tokens[place]]
            pen.text((x + 2, y + 1), token, "black", sheet_font(token, 13))
        return np.asarray(sheet)


SAMPLE_PICTURES = {  # by task
    "captioning": SamplePictures,
    "vqa": SamplePairs,
    "free_form_vqa": SamplePairs,
    "matching": SamplePairs,
}


def _picture(content, image_size):
    """uint8 `(height, width, 3)` of a picture's bytes; grey where they cannot be read."""
    try:
        return resize_uint8(decode_image(tf.constant(content)), image_size).numpy()
    except tf.errors.OpError:
        return np.full((*image_size, 3), 128, np.uint8)
