"""The loss of the next token of a caption."""

from typing import Any

import tensorflow as tf
import tf_keras as keras


@keras.saving.register_keras_serializable("vl_keras")
class CaptionLoss(keras.losses.Loss):
    """Cross-entropy of the next token with label smoothing (Szegedy et al., 2016, section 7).

    `(1 - e) * -log p(y) + e * mean over V of -log p`. The sample weights of a batch leave out the padding. They also
    make the mean over a batch the mean over its real tokens, no matter how the batch is split over replicas.

    Args:
        label_smoothing: e, 0 to 1.

    Args of call:
        y_true: `(B, K, L)` int.
        y_pred: logits `(B, K, L, V)`.

    Returns:
        `(B, K, L)` float32, in nats.
    """

    def __init__(self, label_smoothing: float = 0.0, name: str = "caption_loss", **kwargs: Any) -> None:
        super().__init__(name=name, **kwargs)
        self.label_smoothing = label_smoothing

    def call(self, y_true: tf.Tensor, y_pred: tf.Tensor) -> tf.Tensor:
        # One fused kernel on dense labels is twice as fast on CPU as the same sum written out.
        vocab_size = y_pred.shape[-1]
        rest = self.label_smoothing / vocab_size
        labels = tf.one_hot(tf.cast(y_true, tf.int32), vocab_size, 1.0 - self.label_smoothing + rest, rest)
        return tf.nn.softmax_cross_entropy_with_logits(labels, tf.cast(y_pred, tf.float32))

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "label_smoothing": self.label_smoothing}
