"""Fusion by elementwise product."""

import tensorflow as tf
import tf_keras as keras

from vl_keras.layers.fusion.vector_fusion import VectorFusion


@keras.saving.register_keras_serializable("vl_keras")
class ProductFusion(VectorFusion):
    """`h_text ⊙ h_image`, `(B, hidden_dim)`. See `VectorFusion`."""

    def combine(self, text: tf.Tensor, image: tf.Tensor) -> tf.Tensor:
        return text * image
