"""What an image's bytes tell in a graph, without decoding: a served bomb must not be decoded to find out.

The same as `image_header`, in string operations of TensorFlow.
"""

from collections.abc import Callable

import tensorflow as tf

from vl_keras.data.row_status import OK

Size = tuple[tf.Tensor, tf.Tensor, tf.Tensor]  # height, width, and `OK` or what is wrong

_EMPTY = "empty: there are no image bytes"
_UNKNOWN = "unsupported: the bytes are no JPEG, PNG, BMP or WebP image"
_BASE64 = 'unsupported: the bytes are base64 text, send the bytes themselves or, over REST, {"b64": "…"}'
_GIF = "unsupported: GIF images are not decoded, send a JPEG or PNG"
_ANIMATED = "unsupported: animated WebP images are not decoded, send a still one"
_COLOR_TABLE = "unsupported: a BMP with a table of colours is not decoded, send a JPEG or PNG"
_NO_SIZE = "damaged: the image ends before its size is known"
# How the base64 text of a JPEG, a PNG, a BMP, a WebP or a GIF begins, or a URL that contains one.
_BASE64_STARTS = (b"/9j/", b"iVBORw0KGgo", b"Qk0", b"Qk1", b"Qk2", b"Qk3", b"UklGR", b"R0lGO", b"data:image/")
_MOST_SEGMENTS = 4096  # of a JPEG before its frame; each is at least four bytes of the file
_FRAME_MARKERS = [marker for marker in range(0xC0, 0xD0) if marker not in (0xC4, 0xC8, 0xCC)]
_BARE_MARKERS = [0x01, *range(0xD0, 0xD8)]  # TEM and restarts carry no length


def check_header(data: tf.Tensor, max_pixels: int) -> tf.Tensor:
    """`ok`, or why an image cannot be decoded, as far as the scalar string `data` tells by its first bytes."""
    height, width, problem = stored_size(data)
    pixels = height * width
    size = tf.strings.join([tf.strings.as_string(width), "x", tf.strings.as_string(height)])
    too_large = tf.strings.join(["too large: ", size, f" pixels, more than {max_pixels} in all"])
    problem = tf.where((problem == OK) & ((height <= 0) | (width <= 0)), _NO_SIZE, problem)
    # Sides are checked before their product, which could overflow.
    fits = (tf.maximum(height, width) <= max_pixels) & (pixels <= max_pixels)
    return tf.where((problem == OK) & ~fits, too_large, problem)


def stored_size(data: tf.Tensor) -> Size:
    """`(height, width, problem)` of a scalar string, by its header alone: int64, int64 and `ok` or what is wrong."""
    head = _bytes(data, 0, 32)

    def is_at(place: int, magic: bytes) -> tf.Tensor:
        return tf.reduce_all(head[place : place + len(magic)] == tf.constant(list(magic), tf.int64))

    def number(*places: int) -> tf.Tensor:  # the lowest byte first
        return tf.add_n([head[place] * 256**i for i, place in enumerate(places)])

    def sized(height: tf.Tensor, width: tf.Tensor, problem: str = OK) -> Callable[[], Size]:
        return lambda: (tf.cast(height, tf.int64), tf.cast(width, tf.int64), tf.constant(problem))

    def signed(value: tf.Tensor) -> tf.Tensor:
        return tf.abs(tf.where(value >= 2**31, value - 2**32, value))

    def bmp() -> Size:
        is_grey = _has_grey_table(data, 14 + number(14, 15, 16, 17), number(10, 11, 12, 13))
        problem = tf.where(is_at(28, b"\x08\x00") & ~is_grey, _COLOR_TABLE, OK)
        return signed(number(22, 23, 24, 25)), signed(number(18, 19, 20, 21)), problem

    bits = number(21, 22, 23, 24)
    is_webp = is_at(0, b"RIFF") & is_at(8, b"WEBP")
    animated = is_webp & is_at(12, b"VP8X") & (head[20] // 2 % 2 == 1)
    cases = [
        (tf.strings.length(data) == 0, sized(0, 0, _EMPTY)),
        (is_at(0, b"\xff\xd8\xff"), lambda: _jpeg_size(data)),
        (is_at(0, b"\x89PNG\r\n\x1a\n"), sized(number(23, 22, 21, 20), number(19, 18, 17, 16))),
        (is_at(0, b"BM"), bmp),
        (is_at(0, b"GIF8"), sized(0, 0, _GIF)),
        (animated, sized(0, 0, _ANIMATED)),
        (is_webp & is_at(12, b"VP8X"), sized(number(27, 28, 29) + 1, number(24, 25, 26) + 1)),
        (is_webp & is_at(12, b"VP8L"), sized(bits // 2**14 % 2**14 + 1, bits % 2**14 + 1)),
        (is_webp & is_at(12, b"VP8 "), sized(number(28, 29) % 2**14, number(26, 27) % 2**14)),
        (tf.reduce_any([is_at(0, start) for start in _BASE64_STARTS]), sized(0, 0, _BASE64)),
    ]
    return tf.case(cases, default=sized(0, 0, _UNKNOWN))


def _has_grey_table(data: tf.Tensor, begin: tf.Tensor, end: tf.Tensor) -> tf.Tensor:
    """Whether a BMP's table of colours, from byte `begin` to `end`, gives place i the grey i, as TensorFlow assumes."""
    length = tf.cast(tf.strings.length(data), tf.int64)
    begin, end = tf.minimum(begin, length), tf.minimum(end, length)
    colors = tf.reshape(_bytes(data, begin, 1024), (256, 4))[:, :3]
    place = tf.range(256, dtype=tf.int64)[:, tf.newaxis]
    return tf.reduce_all((colors == place) | (begin + 4 * place + 4 > end))


def _jpeg_size(data: tf.Tensor) -> Size:
    """Walks the segments of a JPEG to its frame header (ITU-T T.81, annex B)."""
    zero = tf.constant(0, tf.int64)

    def walk(position: tf.Tensor, height: tf.Tensor, width: tf.Tensor, seeking: tf.Tensor) -> tuple[tf.Tensor, ...]:
        segment = _bytes(data, position, 9)
        marker = segment[1]
        is_frame = tf.reduce_any(marker == _FRAME_MARKERS)
        is_marker = segment[0] == 0xFF
        step = 2 + 256 * segment[2] + segment[3]
        step = tf.where(tf.reduce_any(marker == _BARE_MARKERS), tf.constant(2, tf.int64), step)
        step = tf.where(marker == 0xFF, tf.constant(1, tf.int64), step)  # a fill byte
        height = tf.where(is_marker & is_frame, 256 * segment[5] + segment[6], height)
        width = tf.where(is_marker & is_frame, 256 * segment[7] + segment[8], width)
        return position + step, height, width, seeking & is_marker & ~is_frame

    _, height, width, _ = tf.while_loop(
        lambda position, height, width, seeking: seeking,
        walk,
        (tf.constant(2, tf.int64), zero, zero, tf.constant(True)),
        maximum_iterations=_MOST_SEGMENTS,
    )
    return height, width, tf.constant(OK)


def _bytes(data: tf.Tensor, start: tf.Tensor, count: int) -> tf.Tensor:
    """`(count,)` int64: bytes of a scalar string from `start` on, zeros beyond its end."""
    length = tf.strings.length(data)
    start = tf.minimum(tf.cast(start, tf.int32), length)
    part = tf.strings.join([tf.strings.substr(data, start, count), "\0" * count])
    return tf.cast(tf.io.decode_raw(tf.strings.substr(part, 0, count), tf.uint8), tf.int64)
