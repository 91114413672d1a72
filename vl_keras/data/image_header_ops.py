"""What an image's bytes tell in a graph, without decoding: a served bomb must not be decoded to find out."""

import tensorflow as tf

from vl_keras.data.image_header import TOO_LARGE
from vl_keras.data.image_headers import formats
from vl_keras.data.image_headers.header import Header
from vl_keras.data.image_headers.read_header import read_header, read_jpeg_header
from vl_keras.data.image_headers.tensor_reader import TensorReader
from vl_keras.data.row_status import OK


# Traced once for all graphs that call it.
@tf.function(input_signature=[tf.TensorSpec((), tf.string)], autograph=False)
def header_numbers(data: tf.Tensor) -> tf.Tensor:
    """`Header.numbers` of a scalar string, `(HEADER_SIZE,)` int64."""
    return tf.stack([tf.cast(number, tf.int64) for number in read_header(TensorReader(data)).numbers])


@tf.function(input_signature=[tf.TensorSpec((), tf.string)], autograph=False)
def jpeg_numbers(data: tf.Tensor) -> tf.Tensor:
    """`header_numbers` of a file that begins as a JPEG: of these there are many, and this takes a third of the time."""
    return tf.stack([tf.cast(number, tf.int64) for number in read_jpeg_header(TensorReader(data, False)).numbers])


def header_status(numbers: tf.Tensor, max_pixels: int) -> tf.Tensor:
    """`ok`, or why the image of the `(HEADER_SIZE,)` `numbers` of its header must not be decoded."""
    header = Header.of(tf.unstack(numbers))
    # Sides are checked before their product, which could overflow.
    fits = (tf.maximum(header.height, header.width) <= max_pixels) & (header.height * header.width <= max_pixels)

    def reason() -> tf.Tensor:
        name = tf.gather(tf.constant(formats.NAMES), header.format)
        pixels = tf.strings.join([tf.strings.as_string(header.width), tf.strings.as_string(header.height)], "x")
        first, second, third = TOO_LARGE.split("{}", 2)
        too_large = tf.strings.join([first, name, second, pixels, third.format(max_pixels)])
        return tf.where(fits, tf.gather(_reasons(), header.fault * len(formats.NAMES) + header.format), too_large)

    return tf.cond(fits & (header.fault == 0), lambda: tf.constant(OK), reason)


def _reasons() -> tf.Tensor:
    """All reasons for all formats, those of one fault next to each other."""
    return tf.constant([reason.format(name) for reason in formats.REASONS for name in formats.NAMES])


def check_header(data: tf.Tensor, max_pixels: int) -> tf.Tensor:
    """`ok`, or why an image cannot be decoded, as far as the scalar string `data` tells before decoding."""
    return header_status(header_numbers(data), max_pixels)


def damaged_reasons(contents: tf.Tensor) -> tf.Tensor:
    """`(B,)` string: what is said of each of `(B,)` files whose header is in order and that cannot be decoded."""
    reasons = [formats.REASONS[formats.BROKEN].format(name) for name in formats.NAMES[: len(formats.DECODED) + 1]]
    told = tf.fill(tf.shape(contents), reasons[0])
    for magic, reason in zip(formats.DECODED, reasons[1:], strict=True):
        found = [tf.strings.substr(contents, 0, len(word)) == word for place, word in magic.words.items() if place == 0]
        told = tf.where(found[0], reason, told)
    return told
