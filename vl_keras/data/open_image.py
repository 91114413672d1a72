"""An image's bytes for people to look at, as training sees it."""

import io

import numpy as np
import tensorflow as tf
from PIL import Image

from vl_keras.data import image_ops


def open_image(content, side):
    """The format's name, and an upright RGB `PIL.Image` of the image in `content`.

    A large JPEG is decoded to about `side` pixels each way, which is fast. Anything else is decoded as in training, so
    that 16 bits a channel, for one, come out alike.

    Raises:
        ValueError, OSError, tf.errors.OpError, …: it cannot be decoded; Pillow raises many kinds.
    """
    with Image.open(io.BytesIO(content)) as file:
        kind = file.format
        if kind not in ("JPEG", "MPO"):
            return kind, Image.fromarray(image_ops.decode_image(tf.constant(content)).numpy())
        file.draft("RGB", (side, side))
        stored = tf.constant(np.asarray(file.convert("RGB")))
    return kind, Image.fromarray(image_ops.orient(stored, image_ops.exif_orientation(tf.constant(content))).numpy())
