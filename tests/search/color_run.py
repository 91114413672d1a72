"""Stands in for a trained retrieval run, for tests of what is done with vectors: a space of colours.

An image's vector is the mean colour of its four quarters; a text's is the colour it names, everywhere.
"""

import time
from pathlib import Path

import tensorflow as tf

from vl_keras.config import Config, config_from_dict
from vl_keras.errors import RunError

COLORS = {"red": (1, 0, 0), "green": (0, 1, 0), "blue": (0, 0, 1), "yellow": (1, 1, 0)}
SIZE = (24, 32)


class ColorTask:
    """Stands for the retrieval task that `load_run` returns; it needs no model."""

    def __init__(self, scale, settings=None, seconds=0.0):
        self.scale, self.settings, self.seconds = scale, settings, seconds

    def embed_images(self, model, image):
        if self.seconds:
            image = tf.numpy_function(self._slowly, [image], tf.uint8)
            image.set_shape((None, *SIZE, 3))
        quarters = tf.image.resize(tf.cast(image, tf.float32) / 255.0, (2, 2), method="area")
        return self._vector(tf.reshape(quarters, (-1, 12)))

    def embed_texts(self, model, strings):
        colors = [COLORS[string.decode()] for string in strings.numpy()]
        return self._vector(tf.tile(tf.constant(colors, tf.float32), (1, 4)))

    querybank_texts = ("red", "blue")

    def embed_captions(self, model, captions, progress):
        progress(len(captions))
        return self.embed_texts(model, tf.constant(captions)).numpy()

    def similarity_scale(self, model):
        return 3.0

    def fingerprint(self, model):
        return f"{int(self.scale * 1000):064x}"

    def _vector(self, colors):
        return tf.math.l2_normalize(self.scale * colors - 0.5, axis=1)

    def _slowly(self, image):
        time.sleep(self.seconds)
        return image


class PlainTask:
    """A task that embeds nothing."""


def load_color_run(run_dir, weights="auto", overrides=(), seconds=0.0):
    """`load_run` of a folder with a file `scale`: two folders that hold the same number are one encoder."""
    path = Path(run_dir) / "scale"
    if not path.exists():
        raise RunError(f"`{run_dir}` holds no run: it has no config.yaml.")
    if path.read_text() == "none":
        return Config(task="captioning"), PlainTask(), None, "best"
    values = {"task": "retrieval", "data": {"image_size": list(SIZE)}}
    config = config_from_dict(values, overrides)
    return config, ColorTask(float(path.read_text()), config.sections["retrieval"], seconds), None, "best"


def make_color_run(folder, scale=1.0):
    """A folder that `load_color_run` loads."""
    folder.mkdir()
    (folder / "scale").write_text(str(scale))
    return folder
