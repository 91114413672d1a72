"""A few development images with what the model says of one text each, and where it looks for the text's words."""

import itertools

import numpy as np
import tensorflow as tf

from vl_keras.data.image_ops import decode_image, resize_uint8
from vl_keras.tasks.pairing.predict_pairs import PairPredictor

_IMAGES = 4


class SamplePairs:
    """Draws the first readable images of a split, each with its first text, as often as asked.

    Args:
        task: a `PairTask`.
        model: its `PairClassifier`.
        split: name.
    """

    def __init__(self, task, model, split):
        self._predict = PairPredictor(task, model, [], explains=True)
        self._pairs = list(itertools.islice(_readable(task, split), _IMAGES))

    def __call__(self):
        """List of uint8 images `(height, width, 3)`, and list of what is said of them."""
        drawn, lines = [], []
        for image, text in self._pairs:
            (((line, _, draw),),) = self._predict(tf.constant(image[None]), [text])
            drawn.append(np.asarray(draw(image)))
            lines.append(line.replace("\t", ": "))
        return drawn, lines


def _readable(task, split):
    source = task.source(split)
    for index, texts in enumerate(task.texts(split)):
        if texts:
            try:
                content = tf.constant(source.read_images([index])[0])
                yield resize_uint8(decode_image(content), task.config.data.image_size).numpy(), texts[0]
            except tf.errors.OpError:
                continue
