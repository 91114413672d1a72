"""Opening of images for people to look at, decoded as in training."""

import io

import numpy as np
import tensorflow as tf
from PIL import Image

from vl_keras.data import image_ops


def open_image(content: bytes, side: int) -> tuple[str, Image.Image]:
    """Opens an image.

    A large JPEG is decoded to about `side` pixels in each direction, which is fast. All other images are decoded as in
    training, so that e.g. images with 16 bits a channel look the same.

    Args:
        content: bytes of the file.
        side: approximate size of a large JPEG, in pixels.

    Returns:
        The format's name, and the image, upright and in RGB.

    Raises:
        ValueError, OSError, tf.errors.OpError, …: the image cannot be decoded; Pillow raises many kinds of errors.
    """
    with Image.open(io.BytesIO(content)) as file:
        kind = file.format or ""
        if kind not in ("JPEG", "MPO"):
            return kind, Image.fromarray(image_ops.decode_image(tf.constant(content)).numpy())
        file.draft("RGB", (side, side))
        stored = tf.constant(np.asarray(file.convert("RGB")))
    return kind, Image.fromarray(image_ops.orient(stored, image_ops.exif_orientation(tf.constant(content))).numpy())
