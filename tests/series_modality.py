"""A second modality, made for tests: series of float values, `(time, channels)`, each of a length of its own."""

import struct

import numpy as np
import tensorflow as tf

from vl_keras.data.examples import Examples
from vl_keras.data.modalities import Modality
from vl_keras.data.quarantine import Quarantine
from vl_keras.data.row_status import OK

CHANNELS, MOST_STEPS = 3, 12
_HEADER = struct.Struct("<4sHH")  # magic, steps, channels; then float32 values


def encode_series(values, steps=None):
    """Bytes of `(T, CHANNELS)` values; `steps` is what the header says, by default the truth."""
    values = np.asarray(values, "<f4")
    return _HEADER.pack(b"SER1", len(values) if steps is None else steps, CHANNELS) + values.tobytes()


def series_of(seed, steps):
    """`(steps, CHANNELS)` float32."""
    return np.random.default_rng(seed).normal(size=(steps, CHANNELS)).astype(np.float32)


class SeriesModality(Modality):
    """Series become `(T, CHANNELS)` float32; one of more than `MOST_STEPS` steps is never decoded."""

    name = "series"
    units = "series"
    served_name = "series_bytes"
    damaged = "damaged: the series is cut short"

    def value_spec(self, data):
        return tf.TensorSpec((None, CHANNELS), tf.float32)

    def check(self, content, data):
        if len(content) < _HEADER.size or content[:4] != b"SER1":
            return "no series", False
        steps = _HEADER.unpack_from(content)[1]
        return (f"{steps} steps are more than {MOST_STEPS}" if steps > MOST_STEPS else None), False

    def decode(self, content, data):
        steps = tf.cast(_uint16(content, 4), tf.int32)
        values = tf.io.decode_raw(tf.strings.substr(content, _HEADER.size, -1), tf.float32)
        return tf.reshape(values, (steps, CHANNELS))

    def check_served(self, content, data):
        is_series = tf.strings.substr(content, 0, 4) == b"SER1"
        steps = tf.cast(_uint16(content, 4), tf.int32)
        long = tf.strings.join(["too long: the series has ", tf.strings.as_string(steps), f" steps, {MOST_STEPS} fit"])
        status = tf.where(steps > MOST_STEPS, long, OK)
        status = tf.where(is_series, status, "unsupported: the bytes are no series")
        return tf.where(tf.strings.length(content) == 0, "empty: there are no series bytes", status)

    def golden(self):
        return {f"series of {steps}": encode_series(series_of(steps, steps)) for steps in (1, 5, MOST_STEPS)}


def _uint16(content, place):
    padded = tf.strings.substr(tf.strings.join([content, "\0" * 8]), place, 2)
    return tf.io.decode_raw(padded, tf.uint16)[0]


class SeriesSource(Examples):
    """Examples in memory that hold no, one or several series each, and a caption.

    Args:
        series: list of lists of bytes.
    """

    split, fingerprint, modalities = "train", "series in memory", ("series",)

    def __init__(self, series):
        self.image_ids = [f"example-{index}" for index in range(len(series))]
        self.captions = [[f"example{index} red"] for index in range(len(series))]
        self.contexts = [""] * len(series)
        self.quarantine = Quarantine()
        self._series = series

    def counts(self, modality):
        return np.array([len(own) if modality == "series" else 0 for own in self._series], np.int64)

    def names(self, modality):
        return [
            f"{name} ({place})"
            for name, own in zip(self.image_ids, self._series, strict=True)
            for place in range(1, len(own) + 1)
        ]

    def read(self, modality, numbers):
        everything = [content for own in self._series for content in own]
        contents = np.empty(len(numbers), object)
        contents[:] = [everything[number] for number in numbers]
        return contents
