"""Where a captioner looked for each word: its attention, and Grad-CAM on the image encoder's last feature map."""

from typing import NamedTuple

import numpy as np
import tensorflow as tf

from vl_keras.encoders.application_encoder import SMALL_CNN
from vl_keras.encoders.token_layout import token_layout
from vl_keras.models.token_reader import image_tokens
from vl_keras.tasks.writing.caption_writer import CaptionWriter


class Explanation(NamedTuple):
    """One caption, word by word.

    Attributes:
        caption: as it was written.
        words: its W words.
        attention: `(W, rows, columns)`, how much each grid cell was attended to when the word was written; None where
            the image's tokens are no grid.
        probabilities: `(W,)`, of each word given those before it; None where not asked for.
        grad_cam: `(W, rows, columns)`, how much each cell's features speak for the word; None where not asked for, and
            for the small CNN, whose last feature map is normalised around zero: Grad-CAM takes a channel's value for
            the presence of something, as after a ReLU.
    """

    caption: str
    words: list
    attention: np.ndarray | None
    probabilities: np.ndarray | None = None
    grad_cam: np.ndarray | None = None


class Explainer:
    """Writes captions and says where the model looked for each of their words.

    Args:
        task: a `CaptioningTask`.
        captioner: its `Captioner`.
        batch_size: most images at once.
    """

    def __init__(self, task, captioner, batch_size):
        self.captioner, self.batch_size = captioner, batch_size
        self._tokenizer = task.tokenizer
        self._has_grad_cam = task.config.image_encoder.backbone != SMALL_CNN
        self.layout = token_layout(captioner.image_encoder, task.config.data.image_size)
        settings = {**task.generation_settings(), "return_attention": True}
        self._write = CaptionWriter(task.prepare(captioner), task.tokenizer, settings, batch_size)
        self._encode = tf.function(lambda inputs: image_tokens(captioner.image_encoder, inputs))
        self._answer = tf.function(self._answer_for_tokens, reduce_retracing=True)

    def __call__(self, inputs, in_depth=False):
        """Writes and explains the captions of one batch.

        Args:
            inputs: as `CaptionWriter` takes them.
            in_depth: also the words' probabilities and Grad-CAM, which costs a pass forward and back for each image.

        Returns:
            List of `Explanation`, of each image's best caption; and all captions with `Generated`, as `CaptionWriter`
            returns them.
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

    def _maps(self, weights, places):
        """The mean map of each word's tokens; None where the image's tokens are no grid."""
        return by_word(self.layout.arrange(weights), places) if self.layout.is_grid else None

    def _written_tokens(self, tokens):
        ends = np.flatnonzero((tokens == self._tokenizer.END) | (tokens == self._tokenizer.PAD))
        return tokens[: ends[0]] if len(ends) else tokens

    def _answers(self, inputs, tokens):
        """NumPy `_answer_for_tokens` of one image."""
        if not len(tokens):
            return np.zeros(0, np.float32), np.zeros((0, *self._encode(inputs).mask.shape[1:]), np.float32)
        image = self._encode(inputs)
        inputs = {name: value for name, value in inputs.items() if name in self.captioner.reader.input_names}
        inputs |= {"image_tokens": image.tokens, "image_mask": image.mask}
        return tuple(value.numpy() for value in self._answer(inputs, tf.constant(tokens)))

    def _answer_for_tokens(self, inputs, tokens):
        """Log-probability `(L,)` and Grad-CAM `(L, R)` of each of the L tokens.

        Grad-CAM (Selvaraju et al., 2017, equations 1 and 2): the feature map's channels, weighted by the mean over the
        map of the gradient of the token's log-probability with respect to them, summed, and cut at zero. All tokens are
        done at once: row `i` is a copy of the image that answers for token `i`.
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


def words_of_tokens(tokenizer, tokens):
    """Words of a caption and, for each, the slice of its tokens."""
    words, places = [], []
    for place, token in enumerate(tokens):
        piece = tokenizer.vocab[token]
        if piece.startswith("##") and len(piece) > 2 and words:
            words[-1] += piece[2:]
            places[-1] = slice(places[-1].start, place + 1)
        else:
            words.append(piece)
            places.append(slice(place, place + 1))
    return words, places


def by_word(maps, places):
    """The mean map of each word's tokens, `(W, rows, columns)`."""
    return np.stack([maps[place].mean(axis=0) for place in places]) if places else maps[:0]
