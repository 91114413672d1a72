"""Fusion by concatenation."""

import tensorflow as tf
import tf_keras as keras

from vl_keras.layers.fusion.vector_fusion import VectorFusion


@keras.saving.register_keras_serializable("vl_keras")
class ConcatenationFusion(VectorFusion):
    """`[h_text; h_image]`, `(B, 2*hidden_dim)`. See `VectorFusion`."""

    def combine(self, text: tf.Tensor, image: tf.Tensor) -> tf.Tensor:
        return tf.concat([text, image], axis=-1)
