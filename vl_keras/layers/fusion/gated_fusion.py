"""Fusion by a gate."""

from typing import Any

import tensorflow as tf
import tf_keras as keras

from vl_keras.layers.fusion.vector_fusion import VectorFusion


@keras.saving.register_keras_serializable("vl_keras")
class GatedFusion(VectorFusion):
    """`g ⊙ h_text + (1 - g) ⊙ h_image` with `g = σ(W [h_text; h_image] + b)`, `(B, hidden_dim)`.

    After the gated multimodal unit (Arevalo et al., 2017, section 3.1). See `VectorFusion`.
    """

    def __init__(self, hidden_dim: int, **kwargs: Any) -> None:
        super().__init__(hidden_dim, **kwargs)
        self._gate = keras.layers.Dense(hidden_dim, activation="sigmoid", name="gate", dtype=self.dtype_policy)

    def combine(self, text: tf.Tensor, image: tf.Tensor) -> tf.Tensor:
        gate = self._gate(tf.concat([text, image], axis=-1))
        return gate * text + (1 - gate) * image
