"""Explains predictions for image-text pairs: by the fusion's attention for each word, or else by Grad-CAM."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import tensorflow as tf

from vl_keras.encoders.token_layout import token_layout
from vl_keras.tasks.writing.explain_captions import Explanation, by_word, words_of_tokens

if TYPE_CHECKING:
    from vl_keras.tasks.pairing.text_pair_task import TextPairTask


class PairExplainer:
    """Returns the attention weights of each word of a text; for a fusion without attention, Grad-CAM of the prediction.

    Args:
        task: a `PairTask`.
        model: its `PairClassifier`.

    Attributes:
        note: how to read the explanations, in short lines.
    """

    def __init__(self, task: TextPairTask, model: Any) -> None:
        self._task, self._model = task, model
        self._layout = token_layout(model.image_encoder, task.config.data.image_size)
        self._attends = "attention" in model.pair_reader.output
        self._explain = tf.function(self._attention if self._attends else self._grad_cam, reduce_retracing=True)
        self.note = "the words are those of the text beside the image"
        if not self._attends:
            self.note = f"the fusion {task.config.model.fusion} has no attention, so the map is that of the prediction"

    def __call__(self, image: tf.Tensor, text: str, prediction: str, caption: str) -> Explanation:
        """Explains one pair.

        Args:
            image: `(1, height, width, 3)`.
            text: the text beside it.
            prediction: the model's prediction for the pair, in words.
            caption: heading of the explanation.

        Returns:
            `Explanation`: the text's words with their attention; or only `prediction`, with its Grad-CAM; without
            attention and Grad-CAM if the image's tokens are not a grid.
        """
        ids = self._task.encode_texts([text])
        maps = None
        if self._layout.is_grid:
            maps = self._layout.arrange(self._explain(image, ids).numpy())
        if not self._attends:
            return Explanation(caption, [prediction], None, grad_cam=None if maps is None else maps[None])
        words, places = self._words(text, ids.numpy()[0])
        return Explanation(caption, words, None if maps is None else by_word(maps, places))

    def _words(self, text: str, ids: np.ndarray) -> tuple[list[str], list[slice]]:
        """The words of the text that the model read, and the slice of each word's tokens."""
        tokenizer = self._task.tokenizer
        ids = ids[(ids != tokenizer.PAD) & (ids != tokenizer.END)]
        if tokenizer.is_learned:
            return words_of_tokens(tokenizer, ids)
        # A hub module does not expose its word pieces, but no piece crosses a space.
        written = text.split()
        ends = 1 + np.cumsum(
            tokenizer.tokenize(tf.constant(written, tf.string)).row_lengths().numpy() - 1
        )  # each begins with a start token
        pairs = zip(written, np.append(1, ends), np.minimum(ends, len(ids)), strict=False)
        words, places = [], []
        for word, start, end in pairs:
            if start < end:
                words.append(word)
                places.append(slice(start, end))
        return words, places

    def _attention(self, image: tf.Tensor, ids: tf.Tensor) -> tf.Tensor:
        regions = self._model.read_images({"image": image})
        return self._model.answer(regions, ids)["attention"][0]

    def _grad_cam(self, image: tf.Tensor, ids: tf.Tensor) -> tf.Tensor:
        """Grad-CAM (Selvaraju et al., 2017, equations 1 and 2) on the regions, `(R,)`.

        The features of a region are weighted by the gradient of the prediction's log-odds, averaged over the regions,
        then summed and cut at zero. A feature of zero does not mean "nothing there" as after a ReLU, so the features
        are taken relative to those of the mean region.
        """
        read = self._model.read_images({"image": image})
        regions = tf.cast(read.tokens, tf.float32)
        with tf.GradientTape() as tape:
            tape.watch(regions)
            log_odds = _log_odds(self._model.answer(read._replace(tokens=regions), ids)["logits"][0])
        gradient = tape.gradient(log_odds, regions, unconnected_gradients=tf.UnconnectedGradients.ZERO)
        weights = tf.reduce_mean(gradient, axis=1, keepdims=True)
        relative = regions - tf.reduce_mean(regions, axis=1, keepdims=True)
        return tf.nn.relu(tf.reduce_sum(weights * relative, axis=-1))[0]


def _log_odds(logits: tf.Tensor) -> tf.Tensor:
    """The log-odds of the prediction of logits `(A,)`: of the best answer or, if A is 1, of match or no match."""
    if logits.shape[0] == 1:
        return tf.abs(logits[0])
    best = tf.one_hot(tf.argmax(logits), logits.shape[0], on_value=True, off_value=False)
    return tf.reduce_max(logits) - tf.reduce_logsumexp(tf.boolean_mask(logits, ~best))
