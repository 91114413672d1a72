"""Pixels of an image file, by its header: the formats' own oddities end here. TensorFlow operations only.

Clear parts are put on white, as a page shows them. Bytes that a header's rules have refused must not come here.
"""

import functools

import numpy as np
import tensorflow as tf

from vl_keras.data.image_headers import formats
from vl_keras.data.image_headers.header import FAULT, FORMAT, HEADER_SIZE, Header

_GROUND = 255  # the grey that clear parts are put on
_PNG_END = b"\0\0\0\0IEND\xaeB`\x82"
_GIF_END = b"\x3b"
_BYTES = np.array([1, 2**8, 2**16, 2**24])  # lowest bits of the bytes of a pixel


def decode_stored_pixels(data: tf.Tensor, numbers: tf.Tensor) -> tf.Tensor:
    """Decodes an image as stored, not turned by its orientation.

    Args:
        data: scalar string, the file.
        numbers: `(HEADER_SIZE,)` int64, `Header.numbers` of the file.

    Returns:
        `(h, w, 3)` uint8.

    Raises:
        tf.errors.InvalidArgumentError: the file has a fault, or is broken.
    """
    image = tf.cond(is_jpeg(numbers), lambda: decode_plain(data), lambda: _decode_other(data, numbers))
    return tf.ensure_shape(image, (None, None, 3))


# Traced once for all graphs, and one operation of each: see `apart`.
@tf.function(
    input_signature=[tf.TensorSpec((), tf.string), tf.TensorSpec((HEADER_SIZE,), tf.int64)],
    autograph=False,
    experimental_attributes={"_noinline": True},
)
def _decode_other(data: tf.Tensor, numbers: tf.Tensor) -> tf.Tensor:
    header = Header.of(tf.unstack(numbers))
    others = [_decode_nothing, _decode_png, _decode_gif, _decode_bmp, _decode_webp]
    is_other = (header.fault == 0) & (header.format <= formats.WEBP)
    place = tf.cast(tf.where(is_other, tf.maximum(header.format - formats.JPEG, 0), 0), tf.int32)
    return tf.switch_case(place, [functools.partial(decode, data, header) for decode in others])


def decode_plain(data: tf.Tensor) -> tf.Tensor:
    """`(h, w, 3)` uint8 of a JPEG or of a file of which `is_plain` is true, not turned; its header is not needed."""
    return tf.ensure_shape(tf.io.decode_image(data, channels=3, expand_animations=False), (None, None, 3))


def is_jpeg(numbers: tf.Tensor) -> tf.Tensor:
    """Whether `(HEADER_SIZE,)` `numbers` are those of a JPEG that may be decoded."""
    return (numbers[FORMAT] == formats.JPEG) & (numbers[FAULT] == 0)


def is_plain(header: Header) -> bool:
    """Whether the file needs nothing but a decoder: an upright JPEG, or a PNG of the chunks of pixels alone."""
    is_bare = header.format == formats.PNG and header.parts[7] > 0
    return header.fault == 0 and header.orientation == 1 and (header.format == formats.JPEG or is_bare)


def plain_form(content: bytes, header: Header) -> bytes:
    """A file without a fault as one that `decode_plain` reads, to the same pixels: a JPEG as it is, others as PNG.

    Raises:
        tf.errors.InvalidArgumentError: the file is broken.
    """
    if header.format == formats.JPEG or is_plain(header):
        return content
    has_alpha, table, table_size, _, _, start, size = header.parts[:7]
    if header.format == formats.PNG and not has_alpha:
        return content[:33] + content[table : table + table_size] + content[start : start + size] + _PNG_END
    pixels = _decode_other(tf.constant(content), tf.constant(header.numbers, tf.int64))
    return tf.io.encode_png(pixels, compression=0).numpy()


def _decode_nothing(data: tf.Tensor, header: Header) -> tf.Tensor:
    return tf.io.decode_image(tf.strings.substr(data, 0, 0), channels=3, expand_animations=False)  # raises


def _decode_png(data: tf.Tensor, header: Header) -> tf.Tensor:
    """Decodes the chunks that the pixels need, and no others."""
    has_alpha, table, table_size, clear, clear_size, start, size = header.parts[:7]
    needed = ((0, 33), (table, table_size), (clear, clear_size), (start, size))
    data = tf.strings.join([*(_part(data, place, length) for place, length in needed), _PNG_END])
    return tf.cond(
        has_alpha > 0,
        lambda: _on_ground(tf.io.decode_png(data, channels=4)),
        lambda: tf.io.decode_png(data, channels=3),
    )


def _decode_webp(data: tf.Tensor, header: Header) -> tf.Tensor:
    image = tf.io.decode_image(data, channels=0, expand_animations=False)  # of three channels or, with alpha, four
    return tf.cond(tf.shape(image)[2] == 4, lambda: _on_ground(image), lambda: image)


def _decode_gif(data: tf.Tensor, header: Header) -> tf.Tensor:
    """Decodes the first frame and puts it in its place on the screen.

    The file is written anew with that frame only, at the corner, and with its clear colour as that of the ground. Where
    the screen shows nothing of it, it is clear or, without a clear colour, of the first colour.
    """
    table, colors, clear, frame, end = header.parts[:5]
    is_local = table > 13
    is_clear = (clear >= 0) & (clear < colors)
    place = tf.where(is_clear, table + 3 * clear, 0)
    ground = tf.constant(bytes([_GROUND] * 3))

    def with_ground(start: tf.Tensor, stop: tf.Tensor) -> tf.Tensor:
        inside = is_clear & (place >= start) & (place < stop)
        changed = tf.strings.join([_part(data, start, place - start), ground, _part(data, place + 3, stop - place - 3)])
        return tf.where(inside, changed, _part(data, start, stop - start))

    head = 13 + tf.where(is_local, _global_table_size(data), 3 * colors)
    left, top, width, height = (_uint16(data, frame + place) for place in (1, 3, 5, 7))
    screen = _uint16(data, 6), _uint16(data, 8)
    corner = tf.strings.join([_part(data, frame, 1), "\0" * 4, _part(data, frame + 5, 4)])
    head_size = tf.strings.join([_part(data, 0, 6), _part(data, frame + 5, 4), _part(data, 10, 3)])
    rest = with_ground(frame + 9, end)
    file = tf.strings.join([head_size, with_ground(tf.constant(13, tf.int64), head), corner, rest, _GIF_END])
    image = tf.io.decode_image(file, channels=3, expand_animations=False)
    image = tf.ensure_shape(image, (None, None, 3))
    first = tf.cast(tf.io.decode_raw(_part(data, table, 3), tf.uint8), tf.int32)
    around = tf.where(clear >= 0, tf.constant([_GROUND] * 3), first)

    def framed() -> tf.Tensor:
        below, right = screen[1] - top - height, screen[0] - left - width
        inner = tf.pad(tf.ones((height, width, 1), tf.bool), ((top, below), (left, right), (0, 0)))
        padded = tf.pad(image, ((top, below), (left, right), (0, 0)))
        return tf.where(inner, padded, tf.cast(around, tf.uint8))

    is_whole = (width == screen[0]) & (height == screen[1])
    return tf.cond(is_whole, lambda: image, framed)


def _global_table_size(data: tf.Tensor) -> tf.Tensor:
    flags = tf.cast(tf.io.decode_raw(_part(data, 10, 1), tf.uint8)[0], tf.int32)
    return tf.cast(tf.where(flags >= 128, 3 * tf.bitwise.left_shift(2, flags % 8), 0), tf.int64)


def _decode_bmp(data: tf.Tensor, header: Header) -> tf.Tensor:
    height, width, parts = header.height, header.width, header.parts
    start, row, bits, from_top = parts[:4]
    file = tf.io.decode_raw(tf.strings.join([_part(data, start, row * height), "\0" * 4]), tf.uint8)
    file = file[: row * height]
    file = tf.pad(file, [[0, row * height - tf.size(file, out_type=tf.int64)]])  # the last row may lack its padding
    rows = tf.reshape(file, (height, row))

    def from_table() -> tf.Tensor:
        table, size = parts[4], parts[5]
        colors = tf.io.decode_raw(tf.strings.join([_part(data, table, 256 * size), "\0" * 1024]), tf.uint8)
        colors = tf.reshape(colors[: 256 * size], (256, size))[:, 2::-1]
        beyond = (tf.range(256, dtype=tf.int64)[:, tf.newaxis] + 1) * size + table > start
        colors = tf.where(beyond, tf.constant(0, tf.uint8), colors)
        shifts = tf.cast(tf.range(8 - bits, -1, -bits), tf.uint8)
        mask = tf.cast(2**bits - 1, tf.uint8)
        places = tf.bitwise.right_shift(rows[..., tf.newaxis], shifts) & mask
        places = tf.reshape(places, (height, -1))[:, :width]
        return tf.gather(colors, tf.cast(places, tf.int32))

    def from_bytes() -> tf.Tensor:
        return tf.reshape(rows[:, : 3 * width], (height, width, 3))[..., ::-1]

    def from_masks() -> tf.Tensor:
        count = bits // 8
        pixels = tf.reshape(rows[:, : count * width], (height, width, count))
        masks = tf.stack(parts[4:8])
        lowest = masks & -masks
        largest = masks // tf.maximum(lowest, 1)

        def whole_bytes() -> tf.Tensor:
            place = tf.cast(
                tf.where(lowest >= 2**24, 3, tf.where(lowest >= 2**16, 2, tf.where(lowest >= 2**8, 1, 0))), tf.int64
            )
            return tf.gather(pixels, tf.minimum(place, count - 1), axis=2)

        def any_bits() -> tf.Tensor:
            value = tf.reduce_sum(tf.cast(pixels, tf.int64) * 256 ** tf.range(count), axis=2, keepdims=True)
            value = tf.bitwise.bitwise_and(value, masks) // tf.maximum(lowest, 1)
            return tf.cast((value * 255 + largest // 2) // tf.maximum(largest, 1), tf.uint8)

        starts_byte = tf.reduce_any(lowest[:, tf.newaxis] == _BYTES, axis=1)
        are_bytes = tf.reduce_all((masks == 0) | ((largest == 255) & starts_byte))
        image = tf.cond(are_bytes, whole_bytes, any_bits)
        image = tf.where((masks == 0) & (tf.range(4) < 3), tf.constant(0, tf.uint8), image)
        return tf.cond(masks[3] > 0, lambda: _on_ground(image), lambda: image[..., :3])

    kind = tf.where(bits <= 8, 0, tf.where(bits == 24, 1, 2))
    image = tf.switch_case(kind, [from_table, from_bytes, from_masks])
    return tf.cond(from_top > 0, lambda: image, lambda: tf.reverse(image, [0]))


def _uint16(data: tf.Tensor, place: tf.Tensor | int) -> tf.Tensor:
    return tf.cast(tf.io.decode_raw(_part(data, place, 2), tf.uint16)[0], tf.int32)


def _part(data: tf.Tensor, start: tf.Tensor | int, size: tf.Tensor | int) -> tf.Tensor:
    """`size` bytes from `start` on, or as many as there are."""
    start = tf.minimum(tf.cast(start, tf.int32), tf.strings.length(data))
    return tf.strings.substr(data, start, tf.maximum(tf.cast(size, tf.int32), 0))


def _on_ground(image: tf.Tensor) -> tf.Tensor:
    """`(h, w, 4)` uint8 put on the ground: `(h, w, 3)`."""
    alpha = tf.cast(image[..., 3:], tf.uint16)
    mixed = tf.cast(image[..., :3], tf.uint16) * alpha + _GROUND * (255 - alpha)
    return tf.cast((mixed + 127) // 255, tf.uint8)
