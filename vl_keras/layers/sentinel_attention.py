"""Attention to an image, with a learned gate that can turn to the decoder's own state instead."""

from typing import Any

import tensorflow as tf
import tf_keras as keras

from vl_keras.layers.cross_modal_attention import CrossModalAttention


@keras.saving.register_keras_serializable("vl_keras")
class SentinelAttention(keras.layers.Layer):
    """Mixes attention to the image with the decoder's visual sentinel, in a learned proportion.

    `c = beta * s + (1 - beta) * attention(h, V)`, after Lu et al. (2017), section 2.2, equation 11. There `beta` is one
    entry of a single-head softmax over regions and sentinel. Here several heads read the regions, so `beta` is a
    sigmoid gate computed from output and sentinel. For an image without regions, the attention term is zero.

    Args:
        hidden_dim: D; divisible by `num_heads`.
        num_heads: number of heads.

    Args of call:
        output, sentinel: `(B, T, D)` float.
        image_tokens: `(B, R, D)` float.
        image_mask: `(B, R)` bool, True = real region.

    Returns:
        `(B, T, D)`, and attention weights `(B, T, R)` float32: the mean over heads times `1 - beta`, so that each row
        sums to `1 - beta`.
    """

    def __init__(self, hidden_dim: int, num_heads: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.hidden_dim = hidden_dim
        self.num_heads = num_heads
        self.cross_attention = CrossModalAttention(
            hidden_dim, num_heads, name="cross_attention", dtype=self.dtype_policy
        )
        self._beta = keras.layers.Dense(1, activation="sigmoid", name="beta", dtype=self.dtype_policy)

    def call(
        self,
        output: tf.Tensor,
        sentinel: tf.Tensor,
        image_tokens: tf.Tensor,
        image_mask: tf.Tensor | None = None,
    ) -> tuple[tf.Tensor, tf.Tensor]:
        sentinel = tf.cast(sentinel, output.dtype)  # Keras casts only the first argument to the compute dtype
        key, value = self.cross_attention.project(image_tokens)
        read, weights = self.cross_attention.attend(output, key, value, image_mask)
        beta = self._beta(tf.concat([output, sentinel], axis=-1))
        image_share = 1.0 - tf.cast(beta, tf.float32)
        return beta * sentinel + (1.0 - beta) * read, tf.reduce_mean(weights, axis=1) * image_share

    def step(
        self,
        output: tf.Tensor,
        sentinel: tf.Tensor,
        num_beams: int,
        image: tuple[tf.Tensor, tf.Tensor],
        image_mask: tf.Tensor,
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Does what `call` does, for one token of each of the K captions of an image.

        Args:
            output, sentinel: `(B*K, D)`.
            num_beams: K.
            image, image_mask: `memory` and `mask` of `CrossModalAttention.read`.

        Returns:
            `(B*K, D)`, and attention weights `(B, K, R)` float32.
        """
        read, weights = self.cross_attention.read(output, num_beams, image, image_mask)
        beta = self._beta(tf.concat([output, sentinel], axis=-1))
        image_share = 1.0 - tf.cast(tf.reshape(beta, (-1, num_beams, 1)), tf.float32)
        return read + beta * (sentinel - read), tf.reduce_mean(weights, axis=1) * image_share

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "hidden_dim": self.hidden_dim,
            "num_heads": self.num_heads,
        }
