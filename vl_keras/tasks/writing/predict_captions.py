"""Captions for batches of images."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

import tensorflow as tf

from vl_keras.drawing.attention_drawing import explanation_sheet
from vl_keras.tasks.writing.caption_writer import CaptionWriter
from vl_keras.tasks.writing.explain_captions import Explainer

if TYPE_CHECKING:
    from vl_keras.models.captioner import Captioner
    from vl_keras.tasks.captioning import CaptioningTask


class CaptionPredictor:
    """Writes a caption for each image; see `Task.predictor`.

    Args:
        task: a `CaptioningTask`.
        model: its trained `Captioner`.
        context: text that the model reads beside every image; only for models with a text encoder.
        explains: also draw attention weights.
    """

    count = 1  # predictions for each image

    def __init__(self, task: CaptioningTask, model: Captioner, context: str, explains: bool) -> None:
        self._task, self._model, self._context, self._explains = task, model, context, explains
        self._write: Any = None
        self._note = f"context: {context}" if context else ""

    def __call__(self, image: tf.Tensor) -> list[list[tuple]]:
        """Predicts for `(n, height, width, 3)` uint8 images; no batch is larger than the first.

        Returns:
            For each image a list of one `(line, output, draw)`; see `Task.predictor`.
        """
        task = self._task
        if self._write is None:
            self._write = self._writer(len(image))
        inputs = {"image": image}
        if task.text_encoder is not None:
            inputs |= task.text_encoder.preprocess(tf.fill([len(image)], self._context))
        explanations = [None] * len(image)
        if self._explains:
            explanations, (captions, written) = self._write(inputs, in_depth=True)
        else:
            captions, written = self._write(inputs)
        rows = []
        for texts, scores, explanation in zip(captions, written.scores, explanations, strict=True):
            scores = [float(score) for score in scores]
            output = {"caption": texts[0], "score": scores[0], "captions": texts, "scores": scores}
            draw = None
            if explanation is not None:
                draw = functools.partial(explanation_sheet, explanation, note=self._note)
            rows.append([(texts[0], output, draw)])
        return rows

    def _writer(self, batch_size: int) -> Explainer | CaptionWriter:
        task, model = self._task, self._model
        if self._explains:
            return Explainer(task, model, batch_size)
        return CaptionWriter(task.prepare(model), task.tokenizer, task.generation_settings(), batch_size)
