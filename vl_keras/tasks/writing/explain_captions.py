"""Explains captions word by word: attention weights, and Grad-CAM on the image encoder's last feature map."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import tensorflow as tf

from vl_keras.encoders.application_encoder import SMALL_CNN
from vl_keras.encoders.token_layout import token_layout
from vl_keras.models.token_reader import image_tokens
from vl_keras.tasks.writing.caption_writer import CaptionWriter

if TYPE_CHECKING:
    from vl_keras.models.captioner import Captioner
    from vl_keras.tasks.captioning import CaptioningTask


class Explanation(NamedTuple):
    """One caption, word by word.

    Attributes:
        caption: the caption.
        words: its W words.
        attention: `(W, rows, columns)` attention weights of each word; None without attention, or if the image's tokens
            are not a grid.
        probabilities: `(W,)`, of each word given the words before it; None if not computed.
        grad_cam: `(W, rows, columns)`, how much each cell's features support the word; None if not computed, and for
            the small CNN: Grad-CAM reads a channel's value as the presence of something, as after a ReLU, but the small
            CNN's last feature map is normalised around zero.
    """

    caption: str
    words: list[str]
    attention: np.ndarray | None
    probabilities: np.ndarray | None = None
    grad_cam: np.ndarray | None = None


class Explainer:
    """Writes captions with the attention weights of each of their words.

    Args:
        task: a `CaptioningTask`.
        captioner: its `Captioner`.
        batch_size: most images at once.
    """

    def __init__(self, task: CaptioningTask, captioner: Captioner, batch_size: int) -> None:
        self.captioner, self.batch_size = captioner, batch_size
        self._tokenizer = task.tokenizer
        self._has_grad_cam = task.config.image_encoder.backbone != SMALL_CNN
        self.layout = token_layout(captioner.image_encoder, task.config.data.image_size)
        settings = {**task.generation_settings(), "return_attention": True}
        self._write = CaptionWriter(task.prepare(captioner), task.tokenizer, settings, batch_size)
        self._encode = tf.function(lambda inputs: image_tokens(captioner.image_encoder, inputs))
        self._answer = tf.function(self._answer_for_tokens, reduce_retracing=True)

    def __call__(
        self, inputs: dict[str, tf.Tensor], in_depth: bool = False
    ) -> tuple[list[Explanation], tuple[list[list[str]], Any]]:
        """Writes and explains the captions of one batch.

        Args:
            inputs: see `CaptionWriter`.
            in_depth: also compute the words' probabilities and Grad-CAM: a forward and a backward pass for each image.

        Returns:
            List of `Explanation` of each image's best caption; and the result of `CaptionWriter`.
        """
        captions, written = self._write(inputs)
        explanations = []
        for row, texts in enumerate(captions):
            tokens = self._written_tokens(written.tokens[row, 0])
            words, places = words_of_tokens(self._tokenizer, tokens)
            explanation = Explanation(texts[0], words, self._maps(written.attention[row, 0, : len(tokens)], places))
            if in_depth:
                one = {name: value[row : row + 1] for name, value in inputs.items()}
                log_probs, credit = self._answers(one, tokens)
                explanation = explanation._replace(
                    probabilities=np.exp([np.sum(log_probs[place]) for place in places]),
                    grad_cam=self._maps(credit, places) if self._has_grad_cam else None,
                )
            explanations.append(explanation)
        return explanations, (captions, written)

    def _maps(self, weights: np.ndarray, places: Sequence[slice]) -> np.ndarray | None:
        """The mean map of each word's tokens; None if the image's tokens are not a grid."""
        return by_word(self.layout.arrange(weights), places) if self.layout.is_grid else None

    def _written_tokens(self, tokens: np.ndarray) -> np.ndarray:
        ends = np.flatnonzero((tokens == self._tokenizer.END) | (tokens == self._tokenizer.PAD))
        return tokens[: ends[0]] if len(ends) else tokens

    def _answers(self, inputs: dict[str, tf.Tensor], tokens: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """NumPy `_answer_for_tokens` of one image."""
        if not len(tokens):
            return np.zeros(0, np.float32), np.zeros((0, *self._encode(inputs).mask.shape[1:]), np.float32)
        image = self._encode(inputs)
        inputs = {name: value for name, value in inputs.items() if name in self.captioner.reader.input_names}
        inputs |= {"image_tokens": image.tokens, "image_mask": image.mask}
        log_probs, credit = self._answer(inputs, tf.constant(tokens))
        return log_probs.numpy(), credit.numpy()

    def _answer_for_tokens(self, inputs: dict[str, tf.Tensor], tokens: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Log-probability `(L,)` and Grad-CAM `(L, R)` of each of the L tokens.

        Grad-CAM (Selvaraju et al., 2017, equations 1 and 2): each channel of the feature map is weighted by the
        gradient of the token's log-probability, averaged over the map; the channels are then summed and cut at zero.
        All tokens are computed at once: row `i` is a copy of the image for token `i`.
        """
        count = tf.shape(tokens)[0]
        inputs = {name: tf.repeat(value, count, axis=0) for name, value in inputs.items()}
        features = tf.cast(inputs["image_tokens"], tf.float32)
        read = tf.concat([[self._tokenizer.START], tokens[:-1]], axis=0)
        rows = tf.tile(read[None, None], (count, 1, 1))
        with tf.GradientTape() as tape:
            tape.watch(features)
            names = self.captioner.reader.input_names
            known = {**inputs, "image_tokens": features}
            memory = self.captioner.reader({name: known[name] for name in names}, training=False)
            logits = self.captioner.decoder.model([rows, memory["memory"], memory["memory_mask"]], training=False)
            scores = tf.nn.log_softmax(tf.cast(logits[:, 0], tf.float32))
            places = tf.range(count)
            log_probs = tf.gather_nd(scores, tf.stack([places, places, tokens], axis=-1))
        gradient = tape.gradient(log_probs, features)
        weights = tf.reduce_mean(gradient, axis=1, keepdims=True)
        return log_probs, tf.nn.relu(tf.reduce_sum(weights * features, axis=-1))


def words_of_tokens(tokenizer: Any, tokens: Sequence[int] | np.ndarray) -> tuple[list[str], list[slice]]:
    """The words of a caption, and the slice of each word's tokens."""
    words: list[str] = []
    places: list[slice] = []
    for place, token in enumerate(tokens):
        piece = tokenizer.vocab[token]
        if piece.startswith("##") and len(piece) > 2 and words:
            words[-1] += piece[2:]
            places[-1] = slice(places[-1].start, place + 1)
        else:
            words.append(piece)
            places.append(slice(place, place + 1))
    return words, places


def by_word(maps: np.ndarray, places: Sequence[slice]) -> np.ndarray:
    """The mean map of each word's tokens, `(W, rows, columns)`."""
    return np.stack([maps[place].mean(axis=0) for place in places]) if places else maps[:0]
