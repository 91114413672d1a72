"""Attention that may also decide not to look."""

import tensorflow as tf
import tf_keras as keras

from vl_keras.layers.cross_modal_attention import CrossModalAttention


@keras.saving.register_keras_serializable("vl_keras")
class SentinelAttention(keras.layers.Layer):
    """Reads the picture, or the decoder's own memory, in a learned proportion.

    `c = beta * s + (1 - beta) * attention(h, V)`, after Lu et al. (2017), section 2.2, equation 11. There `beta` is one
    entry of a single-head softmax over regions and sentinel; here the regions are read by several heads, so `beta`
    is a sigmoid gate of output and sentinel. Where a picture has no region at all, its part is zero.

    Args:
        hidden_dim: D; divides by `num_heads`.
        num_heads: number of heads.

    Args of call:
        output, sentinel: `(B, T, D)` float.
        image_tokens: `(B, R, D)` float.
        image_mask: `(B, R)` bool, True = real region.

    Returns:
        `(B, T, D)`, and how much each region was looked at, `(B, T, R)` float32, mean over heads and `1 - beta` in all.
    """

    def __init__(self, hidden_dim, num_heads, **kwargs):
        super().__init__(**kwargs)
        self.hidden_dim = hidden_dim
        self.num_heads = num_heads
        self.cross_attention = CrossModalAttention(
            hidden_dim, num_heads, name="cross_attention", dtype=self.dtype_policy
        )
        self._beta = keras.layers.Dense(1, activation="sigmoid", name="beta", dtype=self.dtype_policy)

    def call(self, output, sentinel, image_tokens, image_mask=None):
        return self.attend(output, sentinel, *self.cross_attention.project(image_tokens), image_mask)

    def attend(self, output, sentinel, image_key, image_value, image_mask=None):
        """As `call`, for image tokens that `cross_attention.project` has projected before."""
        sentinel = tf.cast(sentinel, output.dtype)  # Keras casts only the first argument to the compute dtype
        read, weights = self.cross_attention.attend(output, image_key, image_value, image_mask)
        beta = self._beta(tf.concat([output, sentinel], axis=-1))
        looked = tf.reduce_mean(weights, axis=1) * (1.0 - tf.cast(beta, tf.float32))
        return beta * sentinel + (1.0 - beta) * read, looked

    def get_config(self):
        return {
            **super().get_config(),
            "hidden_dim": self.hidden_dim,
            "num_heads": self.num_heads,
        }
