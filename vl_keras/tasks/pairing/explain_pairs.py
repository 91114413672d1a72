"""What a classifier of image-text pairs looked at: its fusion's attention, word by word, or else Grad-CAM."""

import numpy as np
import tensorflow as tf

from vl_keras.encoders.token_layout import token_layout
from vl_keras.tasks.writing.explain_captions import Explanation, by_word, words_of_tokens


class PairExplainer:
    """Says where the words of a text looked in an image; of fusions without attention, what spoke for the answer.

    Args:
        task: a `PairTask`.
        model: its `PairClassifier`.

    Attributes:
        note: how to read the explanations, in short lines.
    """

    def __init__(self, task, model):
        self._task, self._model = task, model
        self._layout = token_layout(model.image_encoder, task.config.data.image_size)
        self._attends = "attention" in model.pair_reader.output
        self._explain = tf.function(self._attention if self._attends else self._grad_cam, reduce_retracing=True)
        self.note = "bright: where the word looked\ncross: the peak"
        if not self._attends:
            self.note = (
                f"the fusion {task.config.model.fusion} has no attention;\nthis is Grad-CAM, for what was said\n"
                "bright: what speaks for it\ncross: the peak"
            )

    def __call__(self, image, text, said, caption):
        """Explains one pair.

        Args:
            image: `(1, height, width, 3)`.
            text: what was read beside it.
            said: what the model said of them.
            caption: heading of the explanation.

        Returns:
            `Explanation`: the text's words with their attention; or `said` alone, with its Grad-CAM. Without either
            where the image's tokens are no grid.
        """
        ids = self._task.encode_texts([text])
        maps = None
        if self._layout.is_grid:
            maps = self._layout.arrange(self._explain(image, ids).numpy())
        if not self._attends:
            return Explanation(caption, [said], None, grad_cam=None if maps is None else maps[None])
        words, places = self._words(text, ids.numpy()[0])
        return Explanation(caption, words, None if maps is None else by_word(maps, places))

    def _words(self, text, ids):
        """The text's words that were read, and the slices of their tokens."""
        tokenizer = self._task.tokenizer
        ids = ids[(ids != tokenizer.PAD) & (ids != tokenizer.END)]
        if tokenizer.is_learned:
            return words_of_tokens(tokenizer, ids)
        # A hub module does not tell its pieces' spelling, but words that a space parts share none.
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

    def _attention(self, image, ids):
        regions = self._model.read_images({"image": image})
        return self._model.answer(regions, ids)["attention"][0]

    def _grad_cam(self, image, ids):
        """Grad-CAM (Selvaraju et al., 2017, equations 1 and 2) on the regions, `(R,)`.

        A region's features are weighted by the mean over the regions of the gradient of the log-odds of what was said,
        summed, and cut at zero. The features lie around no zero that would mean "nothing there", as after a ReLU, so
        they are taken relative to the mean region's.
        """
        image = self._model.read_images({"image": image})
        regions = tf.cast(image.tokens, tf.float32)
        with tf.GradientTape() as tape:
            tape.watch(regions)
            log_odds = _log_odds(self._model.answer(image._replace(tokens=regions), ids)["logits"][0])
        gradient = tape.gradient(log_odds, regions, unconnected_gradients=tf.UnconnectedGradients.ZERO)
        weights = tf.reduce_mean(gradient, axis=1, keepdims=True)
        relative = regions - tf.reduce_mean(regions, axis=1, keepdims=True)
        return tf.nn.relu(tf.reduce_sum(weights * relative, axis=-1))[0]


def _log_odds(logits):
    """Log-odds of what logits `(A,)` say: the best answer's; of one logit, that of a match or of none."""
    if logits.shape[0] == 1:
        return tf.abs(logits[0])
    best = tf.one_hot(tf.argmax(logits), logits.shape[0], on_value=True, off_value=False)
    return tf.reduce_max(logits) - tf.reduce_logsumexp(tf.boolean_mask(logits, ~best))
