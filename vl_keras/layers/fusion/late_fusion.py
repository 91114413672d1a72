"""Fusion of scores."""

from typing import Any

import tensorflow as tf
import tf_keras as keras


@keras.saving.register_keras_serializable("vl_keras")
class LateFusion(keras.layers.Layer):
    """`w_t s_text + w_i s_image` with two learned numbers: each modality answers alone, and the scores are combined.

    Args of call:
        text_scores, image_scores: `(B, A)` float, of the same A answers.

    Returns:
        `(B, A)`.
    """

    reads = "scores"

    def build(self, input_shape: Any) -> None:
        self.weight = self.add_weight(name="weight", shape=(2,), initializer="ones")
        super().build(input_shape)

    def call(self, text_scores: tf.Tensor, image_scores: tf.Tensor) -> tf.Tensor:
        text_scores, image_scores = (tf.cast(scores, self.compute_dtype) for scores in (text_scores, image_scores))
        weights = tf.cast(self.weight, self.compute_dtype)
        return weights[0] * text_scores + weights[1] * image_scores
