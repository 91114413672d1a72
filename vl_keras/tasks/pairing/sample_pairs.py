"""Draws a few images of a split with the prediction for one text each, and the attention weights of its words."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import tensorflow as tf

from vl_keras.data.image_ops import decode_image, resize_uint8
from vl_keras.tasks.pairing.predict_pairs import PairPredictor

if TYPE_CHECKING:
    from vl_keras.tasks.pairing.text_pair_task import TextPairTask

_IMAGES = 4


class SamplePairs:
    """Draws the first readable images of a split, each with its first text; can be called again while training goes on.

    Args:
        task: a `TextPairTask`.
        model: what the task built.
        split: name.
    """

    def __init__(self, task: TextPairTask, model: Any, split: str) -> None:
        self._predict = PairPredictor(task, model, [], explains=True)
        self._pairs = list(itertools.islice(_readable(task, split), _IMAGES))

    def __call__(self) -> tuple[list[np.ndarray], list[str]]:
        """Returns uint8 images `(height, width, 3)`, and the prediction for each in words."""
        drawn, lines = [], []
        for image, text in self._pairs:
            (((line, _, draw),),) = self._predict(tf.constant(image[None]), [text])
            drawn.append(np.asarray(draw(image)))
            lines.append(line.replace("\t", ": "))
        return drawn, lines


def _readable(task: TextPairTask, split: str) -> Iterator[tuple[np.ndarray, str]]:
    """Yields the readable images that have texts, with their first text."""
    source = task.source(split)
    for index, texts in enumerate(task.texts(split)):
        if texts:
            try:
                content = tf.constant(source.read_images([index])[0])
                yield resize_uint8(decode_image(content), task.config.data.image_size).numpy(), texts[0]
            except tf.errors.OpError:
                continue
