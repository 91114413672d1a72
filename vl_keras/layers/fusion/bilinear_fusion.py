"""Low-rank bilinear fusion."""

from typing import Any

import tensorflow as tf
import tf_keras as keras


@keras.saving.register_keras_serializable("vl_keras")
class BilinearFusion(keras.layers.Layer):
    """Multi-modal factorised bilinear pooling (MFB; Yu et al., 2017, section 3.1).

    `z = SumPool(U t ⊙ V v, factors)`: every output is a bilinear form of rank `factors` in the two vectors; then
    the signed square root, and division by the Euclidean norm.

    Args:
        hidden_dim: outputs.
        factors: rank of each output's bilinear form.

    Args of call:
        text_vector: `(B, D1)` float.
        image_vector: `(B, D2)` float.

    Returns:
        `(B, hidden_dim)`, of norm 1.
    """

    reads = "vectors"

    def __init__(self, hidden_dim: int, factors: int = 5, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.hidden_dim = hidden_dim
        self.factors = factors
        width = hidden_dim * factors
        self._text = keras.layers.Dense(width, use_bias=False, name="text", dtype=self.dtype_policy)
        self._image = keras.layers.Dense(width, use_bias=False, name="image", dtype=self.dtype_policy)

    def call(self, text_vector: tf.Tensor, image_vector: tf.Tensor) -> tf.Tensor:
        products = tf.cast(self._text(text_vector) * self._image(image_vector), tf.float32)
        pooled = tf.reduce_sum(tf.reshape(products, (-1, self.hidden_dim, self.factors)), axis=-1)
        # The root's slope has no bound at zero.
        rooted = tf.sign(pooled) * tf.sqrt(tf.abs(pooled) + 1e-12)
        return tf.cast(tf.math.l2_normalize(rooted, axis=-1), self.compute_dtype)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "hidden_dim": self.hidden_dim, "factors": self.factors}
