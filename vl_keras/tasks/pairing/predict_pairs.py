"""Predictions for batches of images, each with one text or several."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import tensorflow as tf

from vl_keras.drawing.attention_drawing import explanation_sheet

if TYPE_CHECKING:
    from vl_keras.tasks.pairing.text_pair_task import TextPairTask


class PairPredictor:
    """Predicts for each image with each text what the served model predicts; see `Task.predictor`.

    Args:
        task: a `TextPairTask`.
        model: its trained model.
        texts: strings, each combined with every image.
        explains: also draw attention weights.
    """

    def __init__(self, task: TextPairTask, model: Any, texts: Sequence[str], explains: bool) -> None:
        self._task, self._texts, self.count = task, texts, len(texts)
        self._name = task.text_input.name
        self._explainer = task.explainer(model) if explains else None
        self._read = tf.function(lambda image: model.read_images({"image": image}), reduce_retracing=True)

        @functools.partial(tf.function, reduce_retracing=True, autograph=False)
        def answer(regions: Any, text: tf.Tensor) -> dict[str, tf.Tensor]:
            ids = task.encode_texts(tf.fill([tf.shape(regions.tokens)[0]], text))
            return task.outputs(model, regions, ids)

        self._answer = answer

    def __call__(self, image: tf.Tensor, texts: Sequence[str] | None = None) -> list[list[tuple]]:
        """Predicts for `(n, height, width, 3)` uint8 images with each text, by default the constructor's.

        Returns:
            For each image a list with a `(line, output, draw)` for each text; see `Task.predictor`.
        """
        regions = self._read(image)
        rows: list[list[tuple]] = [[] for _ in range(len(image))]
        for text in self._texts if texts is None else texts:
            columns = {name: value.numpy() for name, value in self._answer(regions, tf.constant(text)).items()}
            for row, found in enumerate(rows):
                output = {name: _plain(values[row]) for name, values in columns.items()}
                described = self._task.describe(output)
                draw = None
                if self._explainer is not None:
                    explanation = self._explainer(image[row : row + 1], text, described, f"{text} → {described}")
                    draw = functools.partial(explanation_sheet, explanation, note=self._explainer.note)
                found.append((f"{text}\t{described}", {self._name: text, **output}, draw))
        return rows


def _plain(value: Any) -> Any:
    if isinstance(value, bytes):
        return value.decode("utf-8")
    return [_plain(item) for item in value] if getattr(value, "ndim", 0) else value.item()
