"""Fusion by a learned weighted sum."""

from typing import Any

import tensorflow as tf
import tf_keras as keras

from vl_keras.layers.fusion.vector_fusion import VectorFusion


@keras.saving.register_keras_serializable("vl_keras")
class WeightedSumFusion(VectorFusion):
    """`w_t h_text + w_i h_image` with two learned numbers, `(B, hidden_dim)`. See `VectorFusion`."""

    def build(self, input_shape: Any) -> None:
        self.weight = self.add_weight(name="weight", shape=(2,), initializer="ones")
        super().build(input_shape)

    def combine(self, text: tf.Tensor, image: tf.Tensor) -> tf.Tensor:
        weights = tf.cast(self.weight, text.dtype)
        return weights[0] * text + weights[1] * image
