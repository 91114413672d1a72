"""Opening of images for people to look at, decoded as in training."""

import io

import numpy as np
import tensorflow as tf
from PIL import Image, ImageOps

from vl_keras.data import image_ops
from vl_keras.data.image_header import image_header
from vl_keras.data.image_headers import formats

_RATIOS = (8, 4, 2)  # by which a decoder of JPEG can make an image smaller


def open_image(content: bytes, side: int) -> tuple[str, Image.Image]:
    """Opens an image as a model sees it, in a size to look at.

    Args:
        content: bytes of the file.
        side: pixels in each direction that the result has at least, where the image has them; at most about twice as
            many. A large JPEG is decoded to few pixels, which is fast.

    Returns:
        The format's name, and the image, upright and in RGB.

    Raises:
        tf.errors.InvalidArgumentError: the image cannot be decoded.
    """
    header = image_header(content)
    ratio = next((ratio for ratio in _RATIOS if min(header.height, header.width) >= ratio * side), 1)
    data = tf.constant(content)
    if header.format == formats.JPEG and not header.fault and ratio > 1:
        stored = tf.io.decode_jpeg(data, channels=3, ratio=ratio)
        image = Image.fromarray(image_ops.orient(stored, tf.constant(header.orientation)).numpy())
    else:
        image = Image.fromarray(decode_pixels(content))
    factor = max(min(image.size) // side, 1)
    return formats.NAMES[header.format], image.reduce(factor) if factor > 1 else image


def decode_pixels(content: bytes) -> np.ndarray:
    """`(h, w, 3)` uint8 of an image file, in its own size, as a model sees it; raises as `open_image` does."""
    return image_ops.decode_image(tf.constant(content)).numpy()


def encode_pil(image: Image.Image) -> bytes:
    """An image of Pillow as a PNG file, upright and with its alpha; what PNG has no form for becomes RGB."""
    image = ImageOps.exif_transpose(image)
    if image.mode in ("PA", "La", "RGBa"):
        image = image.convert("RGBA")
    elif image.mode not in ("1", "L", "LA", "P", "RGB", "RGBA", "I;16"):
        image = image.convert("RGB")
    file = io.BytesIO()
    image.save(file, "PNG", compress_level=1, exif=b"")
    return file.getvalue()
