"""Attention of one modality over another."""

import tensorflow as tf
import tf_keras as keras

from vl_keras.layers.attention_ops import (
    beams_to_heads,
    decoding_attention,
    heads_to_beams,
    merge_heads,
    scaled_dot_product_attention,
    split_heads,
)


@keras.saving.register_keras_serializable("vl_keras")
class CrossModalAttention(keras.layers.Layer):
    """Lets one modality read another: words look at image regions.

    Scaled dot-product attention with `num_heads` heads (Vaswani et al., 2017, section 3.2), the query from one
    modality, key and value from the other. The output projection has no bias, so that reading nothing gives zeros.

    Args:
        hidden_dim: width of query, key, value and output; divides by `num_heads`.
        num_heads: number of heads.

    Args of call:
        query: `(B, T, D)` float, e.g. text tokens.
        value: `(B, R, D)` float, e.g. image regions.
        value_mask: `(B, R)` bool, True = real region. A row with no real region reads zeros.

    Returns:
        `(B, T, hidden_dim)`, and `(B, H, T, R)` attention weights where `return_attention_scores=True`.

    Raises:
        ValueError: `hidden_dim` does not divide by `num_heads`.
    """

    def __init__(self, hidden_dim, num_heads, **kwargs):
        super().__init__(**kwargs)
        if hidden_dim % num_heads:
            raise ValueError(f"`hidden_dim` must be divisible by `num_heads`; got {hidden_dim} and {num_heads}.")
        self.hidden_dim = hidden_dim
        self.num_heads = num_heads
        self._query = keras.layers.Dense(hidden_dim, name="query", dtype=self.dtype_policy)
        self._key = keras.layers.Dense(hidden_dim, name="key", dtype=self.dtype_policy)
        self._value = keras.layers.Dense(hidden_dim, name="value", dtype=self.dtype_policy)
        self._output = keras.layers.Dense(hidden_dim, use_bias=False, name="output", dtype=self.dtype_policy)

    def build(self, input_shape):
        # Built by the first call, which alone knows the width of both modalities.
        super().build(input_shape)

    def call(self, query, value, value_mask=None, return_attention_scores=False):
        key, value = self.project(value)
        output, weights = self.attend(query, key, value, value_mask)
        return (output, weights) if return_attention_scores else output

    def project(self, value):
        """Keys and values of `(B, R, D)` regions, each `(B, H, R, d)`: computed once, read at every decoding step."""
        return split_heads(self._key(value), self.num_heads), split_heads(self._value(value), self.num_heads)

    def attend(self, query, key, value, value_mask=None):
        """Reads projected regions: `(B, T, D)` to `(B, T, hidden_dim)` and weights `(B, H, T, R)` float32."""
        mask = None if value_mask is None else value_mask[:, None, None, :]
        read, weights = scaled_dot_product_attention(
            split_heads(self._query(query), self.num_heads),
            key,
            value,
            mask,
        )
        return self._output(merge_heads(read)), weights

    def remember(self, value, value_mask):
        """What `read` needs of `(B, R, D)` regions at every step: keys `(B, H, d, R)` and values `(B, H, R, d)`."""
        key, value = self.project(value)
        # The additive mask of decoding gives a row with no region the mean of its values; they are made zero instead.
        any_region = tf.cast(tf.reduce_any(value_mask, axis=1), value.dtype)
        return tf.linalg.matrix_transpose(key), value * any_region[:, None, None, None]

    def read(self, rows, num_beams, memory, mask):
        """As `attend`, for one token `(B*K, D)` of K captions of each image.

        Args:
            rows: `(B*K, D)` float.
            num_beams: K.
            memory: of `remember`.
            mask: `(B, 1, 1, R)`, of `additive_mask`.

        Returns:
            `(B*K, hidden_dim)` and weights `(B, H, K, R)` float32, which mean nothing where a row has no region.
        """
        query = beams_to_heads(self._query(rows), num_beams, self.num_heads)
        tokens, weights = decoding_attention(query, *memory, mask, key_is_transposed=True)
        return self._output(heads_to_beams(tokens)), weights

    def get_config(self):
        return {
            **super().get_config(),
            "hidden_dim": self.hidden_dim,
            "num_heads": self.num_heads,
        }
