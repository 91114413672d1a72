"""Images in the graph: decode, crop, resize, augment. The same code runs in training and in the served model.

TensorFlow operations only, so all of it works eagerly, in tf.data and in a SavedModel. What is random follows from a
stateless seed.
"""

import math
from collections.abc import Sequence

import tensorflow as tf

_ASPECT_RATIOS = (3 / 4, 4 / 3)  # of a random resized crop, as in Szegedy et al. (2015)
_EXIF_REACH = 1024  # bytes at the start of a JPEG that are searched for its orientation
_GREY = (0.299, 0.587, 0.114)  # ITU-R BT.601 luma


def decode_image(data: tf.Tensor) -> tf.Tensor:
    """Bytes of a JPEG (grey, colour, CMYK), PNG (palette, alpha, 16 bit), BMP, GIF or WebP file -> `(h, w, 3)` uint8.

    A JPEG is turned as its EXIF orientation says. Alpha is dropped, 16 bit is cut to 8, a GIF gives its first frame.

    Args:
        data: scalar string.

    Raises:
        tf.errors.InvalidArgumentError: the bytes are no such image, or are cut short.
    """
    return orient(_decode(data), exif_orientation(data))


def decode_stored(data: tf.Tensor, size: Sequence[int]) -> tf.Tensor:
    """`decode_image` of an image known to be upright and of `size` (height, width) as stored, and so ready for use."""
    return tf.ensure_shape(_decode(data), (*size, 3))


def decode_and_crop(data: tf.Tensor, seed: tf.Tensor, min_area: float) -> tf.Tensor:
    """Decodes a random part of an image; of a JPEG, only that part is decompressed.

    The part keeps `min_area` to 1 of the area at an aspect ratio of 3:4 to 4:3 (the random resized crop of Szegedy et
    al., 2015, without the resize); an image too narrow for any such part stays whole.

    Args:
        data: scalar string, as for `decode_image`.
        seed: `(2,)` int32.
        min_area: smallest share of the area, above 0 and at most 1 (1 decodes all of it).

    Returns:
        `(h, w, 3)` uint8, turned as its EXIF orientation says.
    """
    if min_area <= 0:
        raise ValueError(f"`min_area` must be above 0; got {min_area}.")
    if min_area >= 1:
        return decode_image(data)

    def jpeg() -> tf.Tensor:
        window = _random_window(tf.image.extract_jpeg_shape(data), seed, min_area)
        return tf.io.decode_and_crop_jpeg(data, window, channels=3)

    def other() -> tf.Tensor:
        image = _decode(data)
        top, left, height, width = tf.unstack(_random_window(tf.shape(image), seed, min_area))
        return image[top : top + height, left : left + width]

    image = tf.cond(tf.io.is_jpeg(data), jpeg, other)
    image.set_shape((None, None, 3))
    return orient(image, exif_orientation(data))


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


def exif_orientation(data: tf.Tensor) -> tf.Tensor:
    """EXIF orientation of a JPEG's bytes, int32 of 1 to 8; 1 (upright) where it has none or the bytes are no JPEG."""
    # \C is any byte: the segment's marker and length follow the file's first two bytes, or a JFIF segment of eighteen.
    has_exif = tf.strings.regex_full_match(tf.strings.substr(data, 0, 30), r"\C{6}(\C{18})?Exif\x00\x00\C*")
    return tf.cond(has_exif, lambda: _parse_orientation(data), lambda: tf.constant(1, tf.int32))


def orient(image: tf.Tensor, orientation: tf.Tensor) -> tf.Tensor:
    """Turns `(h, w, 3)` as stored into `(h', w', 3)` as seen, by its EXIF `orientation` (int32 scalar, 1 to 8)."""

    def turned() -> tf.Tensor:
        quarter = orientation >= 5  # stored on its side: rows are columns
        seen = tf.cond(quarter, lambda: tf.transpose(image, (1, 0, 2)), lambda: image)
        upside_down = tf.reduce_any(orientation == [3, 4, 7, 8])
        mirrored = tf.reduce_any(orientation == [2, 3, 6, 7])
        seen = tf.cond(upside_down, lambda: tf.reverse(seen, [0]), lambda: seen)
        return tf.cond(mirrored, lambda: tf.reverse(seen, [1]), lambda: seen)

    result = tf.cond(orientation == 1, lambda: image, turned)
    result.set_shape((None, None, 3))
    return result


def _decode(data: tf.Tensor) -> tf.Tensor:
    image = tf.io.decode_image(data, channels=3, expand_animations=False)
    image.set_shape((None, None, 3))
    return image


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


def _parse_orientation(data: tf.Tensor) -> tf.Tensor:
    # The TIFF block after "Exif\0\0" (EXIF 2.3, section 4.5), as 16-bit words: byte order, 42, where the first
    # directory is (two words, of which only the low one counts so near the start); there, how many entries of six
    # words: tag, type, count (two words), value (two words). Reads past the end find zeros, which are no orientation.
    start = tf.strings.join([tf.strings.substr(data, 0, _EXIF_REACH), "\0" * _EXIF_REACH])
    tiff = tf.strings.substr(start, tf.where(tf.strings.substr(data, 6, 4) == b"Exif", 12, 30), _EXIF_REACH)
    little = tf.strings.substr(tiff, 0, 2) == b"II"
    words = tf.where(little, *(tf.io.decode_raw(tiff, tf.uint16, little_endian=order) for order in (True, False)))
    words = tf.cast(words, tf.int32)
    directory = tf.minimum(tf.where(little, words[2], words[3]), _EXIF_REACH - 12) // 2
    entries = words[directory + 1 :][: 6 * words[directory]]
    entries = tf.reshape(entries[: tf.size(entries) // 6 * 6], (-1, 6))
    orientation = tf.reduce_max(tf.where(entries[:, 0] == 0x0112, entries[:, 4], 0))  # of no entries: a negative number
    return tf.where((orientation >= 1) & (orientation <= 8), orientation, 1)
