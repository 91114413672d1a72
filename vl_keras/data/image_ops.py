"""Images in the graph: decode, crop, resize, augment. The same code runs in training and in the served model.

TensorFlow operations only, so all of it works eagerly, in tf.data and in a SavedModel. What is random follows from a
stateless seed.
"""

import math
from collections.abc import Sequence

import tensorflow as tf

from vl_keras.data.image_decode import decode_plain, decode_stored_pixels, is_jpeg
from vl_keras.data.image_header import image_header
from vl_keras.data.image_header_ops import header_numbers
from vl_keras.data.image_headers.header import ORIENTATION

_ASPECT_RATIOS = (3 / 4, 4 / 3)  # of a random resized crop, as in Szegedy et al. (2015)
_GREY = (0.299, 0.587, 0.114)  # ITU-R BT.601 luma


def decode_image(data: tf.Tensor, header: tf.Tensor | None = None, plain: bool = False) -> tf.Tensor:
    """Bytes of a JPEG (grey, colour, CMYK), PNG, BMP, GIF or still WebP file -> `(h, w, 3)` uint8.

    The image is turned as its EXIF orientation says. Clear parts are put on white, 16 bit is cut to 8, a GIF gives its
    first frame.

    Args:
        data: scalar string.
        header: `(HEADER_SIZE,)` int64 of `header_of(data)`, where it is known.
        plain: the data are in their `plain_form`, and the graph needs nothing for others.

    Raises:
        tf.errors.InvalidArgumentError: the bytes are no such image, or must not be decoded; see `image_header`.
    """
    header = header_of(data) if header is None else header
    image = decode_plain(data) if plain else decode_stored_pixels(data, header)
    return orient(image, header[ORIENTATION])


def header_of(data: tf.Tensor) -> tf.Tensor:
    """`Header.numbers` of a scalar string, `(HEADER_SIZE,)` int64; read in Python where the bytes are at hand."""
    data = tf.convert_to_tensor(data)
    if tf.is_symbolic_tensor(data):
        return header_numbers(data)
    return tf.constant(image_header(data.numpy()).numbers, tf.int64)


def decode_stored(data: tf.Tensor, size: Sequence[int]) -> tf.Tensor:
    """`decode_image` of a file that `is_plain` and of `size` (height, width), and so ready for use."""
    return tf.ensure_shape(decode_plain(data), (*size, 3))


def decode_and_crop(
    data: tf.Tensor, seed: tf.Tensor, min_area: float, header: tf.Tensor | None = None, plain: bool = False
) -> tf.Tensor:
    """Decodes a random part of an image; of a JPEG, only that part is decompressed.

    The part keeps `min_area` to 1 of the area at an aspect ratio of 3:4 to 4:3 (the random resized crop of Szegedy et
    al., 2015, without the resize); an image too narrow for any such part stays whole.

    Args:
        data: scalar string, as for `decode_image`.
        seed: `(2,)` int32.
        min_area: smallest share of the area, above 0 and at most 1 (1 decodes all of it).
        header, plain: as for `decode_image`.

    Returns:
        `(h, w, 3)` uint8, turned as its EXIF orientation says.
    """
    if min_area <= 0:
        raise ValueError(f"`min_area` must be above 0; got {min_area}.")
    if min_area >= 1:
        return decode_image(data, header, plain)
    header = header_of(data) if header is None else header

    def part_of_jpeg() -> tf.Tensor:
        window = _random_window(tf.image.extract_jpeg_shape(data), seed, min_area)
        return tf.io.decode_and_crop_jpeg(data, window, channels=3)

    def other() -> tf.Tensor:
        image = decode_plain(data) if plain else decode_stored_pixels(data, header)
        top, left, height, width = tf.unstack(_random_window(tf.shape(image), seed, min_area))
        return image[top : top + height, left : left + width]

    image = tf.cond(is_jpeg(header), part_of_jpeg, other)
    image.set_shape((None, None, 3))
    return orient(image, header[ORIENTATION])


def resize(image: tf.Tensor, size: Sequence[int]) -> tf.Tensor:
    """`(h, w, 3)` or `(B, h, w, 3)` of 0..255 -> the same rank, `size` (height, width), float32 of 0..255.

    Bilinear with antialiasing (each output pixel averages all the input it covers), aspect ratio not kept. Values are
    rounded to whole levels, as image libraries store them, so that images can travel as bytes.
    """
    return tf.cast(resize_uint8(image, size), tf.float32)


def resize_uint8(image: tf.Tensor, size: Sequence[int]) -> tf.Tensor:
    """`resize` with the result still as uint8, a quarter of the memory."""

    def scaled() -> tf.Tensor:
        return tf.cast(tf.image.resize(image, size, method="bilinear", antialias=True) + 0.5, tf.uint8)

    same = tf.reduce_all(tf.equal(tf.shape(image)[-3:-1], size))
    result = tf.cond(same, lambda: tf.cast(image, tf.uint8), scaled)
    return tf.ensure_shape(result, (*image.shape[:-3], *size, 3))


def augment(
    image: tf.Tensor, seed: tf.Tensor, flip: tf.Tensor | bool, rotation: float = 0.0, color: float = 0.0
) -> tf.Tensor:
    """Randomly changed image of the same size.

    Args:
        image: `(h, w, 3)` of 0..255, any number type.
        seed: `(2,)` int32.
        flip: scalar bool: mirror it (chosen by the caller, who has the captions' "left" and "right" to swap).
        rotation: largest angle in degrees, either way; the edge is filled by reflection.
        color: largest relative change of brightness, contrast and saturation, each drawn from 1 - color to 1 + color.

    Returns:
        `(h, w, 3)` uint8.
    """
    image = tf.cond(flip, lambda: tf.reverse(image, [1]), lambda: image)
    if rotation or color:
        draws = tf.random.stateless_uniform((4,), seed, -1.0, 1.0)
    if rotation:
        image = rotate(tf.cast(image, tf.float32), draws[0] * (rotation * math.pi / 180))
    if color:
        image = change_color(tf.cast(image, tf.float32), *tf.unstack(1.0 + color * draws[1:]))
    if image.dtype != tf.uint8:
        image = tf.cast(tf.clip_by_value(tf.cast(image, tf.float32), 0.0, 255.0) + 0.5, tf.uint8)
    return image


def rotate(image: tf.Tensor, angle: tf.Tensor | float) -> tf.Tensor:
    """`(h, w, 3)` float32 turned about its centre by `angle` radians, counter-clockwise; bilinear, edges reflected."""
    size = tf.shape(image)[:2]
    y, x = tf.unstack((tf.cast(size, tf.float32) - 1.0) / 2.0)
    cos, sin = tf.cos(angle), tf.sin(angle)
    # Maps an output pixel to the input pixel it shows: turn it back about the centre (y points down).
    matrix = [cos, -sin, x - cos * x + sin * y, sin, cos, y - sin * x - cos * y, 0.0, 0.0]
    turned = tf.raw_ops.ImageProjectiveTransformV3(
        images=image[tf.newaxis],
        transforms=tf.stack(matrix)[tf.newaxis],
        output_shape=size,
        fill_value=0.0,
        interpolation="BILINEAR",
        fill_mode="REFLECT",
    )[0]
    return tf.ensure_shape(turned, image.shape)


def change_color(
    image: tf.Tensor, brightness: tf.Tensor | float, contrast: tf.Tensor | float, saturation: tf.Tensor | float
) -> tf.Tensor:
    """`(h, w, 3)` float32 with its saturation, then its contrast (about its mean grey), then its brightness scaled.

    All three are linear, so they are one 3x3 matrix and an offset per image; the result is not clipped.
    """
    grey = tf.constant(_GREY)
    mix = saturation * tf.eye(3) + (1.0 - saturation) * tf.tile(grey[:, tf.newaxis], (1, 3))
    mean = tf.tensordot(tf.reduce_mean(image, axis=(0, 1)), grey, 1)
    return tf.tensordot(image, brightness * contrast * mix, 1) + brightness * (1.0 - contrast) * mean


def orient(image: tf.Tensor, orientation: tf.Tensor) -> tf.Tensor:
    """Turns `(h, w, 3)` as stored into `(h', w', 3)` as seen, by its EXIF `orientation` (scalar, 1 to 8)."""

    def turned() -> tf.Tensor:
        quarter = orientation >= 5  # stored on its side: rows are columns
        seen = tf.cond(quarter, lambda: tf.transpose(image, (1, 0, 2)), lambda: image)
        upside_down = tf.reduce_any(orientation == tf.constant([3, 4, 7, 8], orientation.dtype))
        mirrored = tf.reduce_any(orientation == tf.constant([2, 3, 6, 7], orientation.dtype))
        seen = tf.cond(upside_down, lambda: tf.reverse(seen, [0]), lambda: seen)
        return tf.cond(mirrored, lambda: tf.reverse(seen, [1]), lambda: seen)

    result = tf.cond(orientation == 1, lambda: image, turned)
    result.set_shape((None, None, 3))
    return result


def _random_window(shape: tf.Tensor, seed: tf.Tensor, min_area: float) -> tf.Tensor:
    begin, size, _ = tf.image.stateless_sample_distorted_bounding_box(
        shape,
        bounding_boxes=tf.constant([[[0.0, 0.0, 1.0, 1.0]]]),
        seed=seed,
        min_object_covered=0.0,
        aspect_ratio_range=_ASPECT_RATIOS,
        area_range=(min_area, 1.0),
        max_attempts=10,
    )
    return tf.concat([begin[:2], size[:2]], axis=0)
