"""Tokens to one vector by attention."""

import tensorflow as tf
import tf_keras as keras

from vl_keras.layers.cross_modal_attention import CrossModalAttention
from vl_keras.layers.masked_mean import masked_mean


@keras.saving.register_keras_serializable("vl_keras")
class AttentionPooling(keras.layers.Layer):
    """The mean of the tokens, and what a query made from it reads of them (Radford et al., 2021, section 2.4).

    `m + attend(m, tokens)` with m the mean of the real tokens.

    Args:
        hidden_dim: D.
        num_heads: of the attention.

    Args of call:
        tokens: `(B, R, hidden_dim)` float.
        mask: `(B, R)` bool, True = real token.

    Returns:
        `(B, hidden_dim)`.
    """

    def __init__(self, hidden_dim, num_heads, **kwargs):
        super().__init__(**kwargs)
        self.hidden_dim = hidden_dim
        self.num_heads = num_heads
        self._attention = CrossModalAttention(hidden_dim, num_heads, name="attention", dtype=self.dtype_policy)

    def call(self, tokens, mask):
        mean = masked_mean(tokens, mask)
        return mean + tf.squeeze(self._attention(mean[:, None], tokens, mask), axis=1)

    def get_config(self):
        return {**super().get_config(), "hidden_dim": self.hidden_dim, "num_heads": self.num_heads}
