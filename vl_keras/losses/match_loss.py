"""The loss of image-text matching with the negatives of the batch."""

from typing import Any

import tensorflow as tf
import tf_keras as keras


@keras.saving.register_keras_serializable("vl_keras")
class MatchLoss(keras.losses.Loss):
    """Cross-entropy of matching every text with its own image and with the other images of the batch.

    For text k of image b: `-log σ(s_b,bk)`, plus the mean of `-log(1 - σ(s))` over the other images, so that matches
    and non-matches have the same weight. With `hardest`, the mean is replaced by the average of two terms: the other
    image that scores highest with the text, and the text of another image that scores highest with b. These are the
    hard negatives of VSE++ (Faghri et al., 2018, section 3.2), here for a model that reads pair by pair.

    Args:
        hardest: whether to use only the hardest negatives.

    Args of call:
        y_true: `(B, K, 1)`, 1 where there is a text and its image is readable, else 0. A text with 0, and an image
            whose texts all have 0, is no negative. Text k of row b belongs to image b.
        y_pred: logits `(B, B*K, 1)` of every image with every text; with several replicas, those of this replica.

    Returns:
        `(B, K)` float32, in nats; undefined where `y_true` is 0.
    """

    def __init__(self, hardest: bool = False, name: str = "match_loss", **kwargs: Any) -> None:
        super().__init__(name=name, **kwargs)
        self.hardest = hardest

    def call(self, y_true: tf.Tensor, y_pred: tf.Tensor) -> tf.Tensor:
        logits = tf.cast(y_pred[..., 0], tf.float32)
        images = tf.shape(logits)[0]
        texts = tf.shape(logits)[1] // images
        own = tf.repeat(tf.eye(images, dtype=tf.bool), texts, axis=1)
        positive = tf.reshape(tf.boolean_mask(logits, own), (images, texts))
        there = tf.cast(y_true[..., 0], tf.bool)
        shown = tf.reduce_any(there, axis=1)
        usable = ~own & shown[:, tf.newaxis] & tf.reshape(there, (1, -1))
        # softplus(s) is -log(1 - σ(s)). It is 0 for the lowest float, which marks the pairs that are no negatives.
        negative = tf.where(usable, logits, logits.dtype.min)
        if self.hardest:
            of_text = tf.nn.softplus(tf.reduce_max(negative, axis=0))
            of_image = tf.nn.softplus(tf.reduce_max(negative, axis=1, keepdims=True))
            others = 0.5 * (tf.reshape(of_text, (images, texts)) + of_image)
        else:
            total = tf.reduce_sum(tf.nn.softplus(negative), axis=0)
            count = tf.reduce_sum(tf.cast(shown, tf.float32)) - 1.0
            others = tf.reshape(total, (images, texts)) / tf.maximum(count, 1.0)
        return tf.nn.softplus(-positive) + others

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "hardest": self.hardest}
