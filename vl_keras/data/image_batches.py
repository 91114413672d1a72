"""The contents that most of the library reads: images, loaded as batches or one at a time."""

import tensorflow as tf

from vl_keras.config import AugmentConfig, DataConfig
from vl_keras.data.examples import Examples
from vl_keras.data.load_contents import load_content, load_contents
from vl_keras.data.modalities import MODALITIES


def load_images(
    rows: tf.data.Dataset, source: Examples, data: DataConfig, augment: AugmentConfig | None = None
) -> tf.data.Dataset:
    """`load_contents` of images: adds "image" `(B, height, width, 3)` uint8, "image_mask" and "image_ok" `(B,)`."""
    return load_contents(rows, source, MODALITIES["image"], data, augment)


def load_image(content: bytes, data: DataConfig) -> tuple[tf.Tensor | None, str]:
    """`load_content` of an image: `(height, width, 3)` uint8 and "", or None and why it cannot be read."""
    return load_content(content, MODALITIES["image"], data)
