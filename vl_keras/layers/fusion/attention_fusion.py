"""Fusion by one attention of words over regions."""

from typing import Any

import tensorflow as tf
import tf_keras as keras

from vl_keras.layers.fusion.token_fusion import TokenFusion
from vl_keras.layers.masked_mean import masked_mean
from vl_keras.layers.masked_softmax import masked_softmax


@keras.saving.register_keras_serializable("vl_keras")
class AttentionFusion(TokenFusion):
    """`F = W_f [T; A V]` with `A = softmax(T W_a Vᵀ)`, T the words and V the regions: each word beside what it reads.

    Returns the mean of F over the real words, `(B, hidden_dim)`. See `TokenFusion`.
    """

    def __init__(self, hidden_dim: int, **kwargs: Any) -> None:
        super().__init__(hidden_dim, **kwargs)
        self._align = keras.layers.Dense(hidden_dim, use_bias=False, name="align", dtype=self.dtype_policy)
        self._output = keras.layers.Dense(hidden_dim, use_bias=False, name="output", dtype=self.dtype_policy)

    def fuse(
        self,
        text: tf.Tensor,
        text_mask: tf.Tensor,
        image: tf.Tensor,
        image_mask: tf.Tensor,
        training: bool | None,
    ) -> tuple[tf.Tensor, tf.Tensor]:
        weights = masked_softmax(tf.matmul(self._align(text), image, transpose_b=True), image_mask[:, None, :])
        read = tf.matmul(tf.cast(weights, image.dtype), image)
        return masked_mean(self._output(tf.concat([text, read], axis=-1)), text_mask), weights
