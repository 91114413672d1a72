"""Attention that may also decide not to look."""

import tensorflow as tf
import tf_keras as keras

from vl_keras.layers.cross_modal_attention import CrossModalAttention


@keras.saving.register_keras_serializable("vl_keras")
class SentinelAttention(keras.layers.Layer):
    """Reads the image, or the decoder's own memory, in a learned proportion.

    `c = beta * s + (1 - beta) * attention(h, V)`, after Lu et al. (2017), section 2.2, equation 11. There `beta` is one
    entry of a single-head softmax over regions and sentinel; here the regions are read by several heads, so `beta`
    is a sigmoid gate of output and sentinel. Where an image has no region at all, its part is zero.

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
        sentinel = tf.cast(sentinel, output.dtype)  # Keras casts only the first argument to the compute dtype
        key, value = self.cross_attention.project(image_tokens)
        read, weights = self.cross_attention.attend(output, key, value, image_mask)
        beta = self._beta(tf.concat([output, sentinel], axis=-1))
        looked = tf.reduce_mean(weights, axis=1) * (1.0 - tf.cast(beta, tf.float32))
        return beta * sentinel + (1.0 - beta) * read, looked

    def step(self, output, sentinel, num_beams, image, image_mask):
        """As `call`, for one token of each of K captions of an image.

        Args:
            output, sentinel: `(B*K, D)`.
            num_beams: K.
            image, image_mask: `memory` and `mask` of `CrossModalAttention.read`.

        Returns:
            `(B*K, D)`, and how much each region was looked at, `(B, K, R)` float32.
        """
        read, weights = self.cross_attention.read(output, num_beams, image, image_mask)
        beta = self._beta(tf.concat([output, sentinel], axis=-1))
        looking = 1.0 - tf.cast(tf.reshape(beta, (-1, num_beams, 1)), tf.float32)
        return read + beta * (sentinel - read), tf.reduce_mean(weights, axis=1) * looking

    def get_config(self):
        return {
            **super().get_config(),
            "hidden_dim": self.hidden_dim,
            "num_heads": self.num_heads,
        }
