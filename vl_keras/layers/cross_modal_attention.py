"""Attention of one modality over another."""

from typing import Any

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
    """Lets one modality attend to another, e.g. words to image regions.

    Scaled dot-product attention with `num_heads` heads (Vaswani et al., 2017, section 3.2): the query comes from one
    modality, key and value from the other. By default the output projection has no bias, so a fully masked row yields
    zeros.

    Args:
        hidden_dim: width of query, key, value and output; divisible by `num_heads`.
        num_heads: number of heads.
        use_bias: whether query, key and value have biases.
        output_bias: whether the output has one.
        dropout: on the attention weights.

    Args of call:
        query: `(B, T, D)` float, e.g. text tokens.
        value: `(B, R, D)` float, e.g. image regions.
        value_mask: `(B, R)` bool, True = real region; or `(B, T, R)` bool, which says for each query what it may read.
            A row without a real region reads zeros.
        return_attention_scores: whether to return the attention weights too.

    Returns:
        `(B, T, hidden_dim)`, and `(B, H, T, R)` attention weights where `return_attention_scores=True`.

    Raises:
        ValueError: `hidden_dim` is not divisible by `num_heads`.
    """

    def __init__(
        self,
        hidden_dim: int,
        num_heads: int,
        use_bias: bool = True,
        output_bias: bool = False,
        dropout: float = 0.0,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if hidden_dim % num_heads:
            raise ValueError(f"`hidden_dim` must be divisible by `num_heads`; got {hidden_dim} and {num_heads}.")
        self.hidden_dim = hidden_dim
        self.num_heads = num_heads
        self.use_bias = use_bias
        self.output_bias = output_bias
        self.dropout = dropout
        dense, policy = keras.layers.Dense, {"dtype": self.dtype_policy}
        self._query = dense(hidden_dim, use_bias=use_bias, name="query", **policy)
        self._key = dense(hidden_dim, use_bias=use_bias, name="key", **policy)
        self._value = dense(hidden_dim, use_bias=use_bias, name="value", **policy)
        self._output = dense(hidden_dim, use_bias=output_bias, name="output", **policy)
        self._dropout = keras.layers.Dropout(dropout, **policy)

    def build(self, input_shape: Any) -> None:
        # The sub-layers are built by the first call: only then are the widths of both modalities known.
        super().build(input_shape)

    def call(
        self,
        query: tf.Tensor,
        value: tf.Tensor,
        value_mask: tf.Tensor | None = None,
        return_attention_scores: bool = False,
        training: bool | None = None,
    ) -> tf.Tensor | tuple[tf.Tensor, tf.Tensor]:
        key, value = self.project(value)
        output, weights = self.attend(query, key, value, value_mask, training)
        return (output, weights) if return_attention_scores else output

    def project(self, value: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Keys and values of `(B, R, D)` regions, each `(B, H, R, d)`: computed once, read at every decoding step."""
        return split_heads(self._key(value), self.num_heads), split_heads(self._value(value), self.num_heads)

    def attend(
        self,
        query: tf.Tensor,
        key: tf.Tensor,
        value: tf.Tensor,
        value_mask: tf.Tensor | None = None,
        training: bool | None = None,
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Attends to projected regions: `(B, T, D)` to `(B, T, hidden_dim)` and weights `(B, H, T, R)` float32."""
        mask = value_mask
        if mask is not None:
            mask = mask[:, None, None, :] if len(mask.shape) == 2 else mask[:, None]
        read, weights = scaled_dot_product_attention(
            split_heads(self._query(query), self.num_heads),
            key,
            value,
            mask,
            (lambda weights: self._dropout(weights, training=training)) if self.dropout else None,
        )
        return self._output(merge_heads(read)), weights

    def remember(self, value: tf.Tensor, value_mask: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Prepares `(B, R, D)` regions for `read`: keys `(B, H, d, R)` and values `(B, H, R, d)`."""
        key, value = self.project(value)
        # With an additive mask a row without a region would read the mean of its values, so they are set to zero.
        any_region = tf.cast(tf.reduce_any(value_mask, axis=1), value.dtype)
        return tf.linalg.matrix_transpose(key), value * any_region[:, None, None, None]

    def read(
        self, rows: tf.Tensor, num_beams: int, memory: tuple[tf.Tensor, tf.Tensor], mask: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Does what `attend` does, for one token of each of the K captions of an image.

        Args:
            rows: `(B*K, D)` float.
            num_beams: K.
            memory: result of `remember`.
            mask: `(B, 1, 1, R)`, result of `additive_mask`.

        Returns:
            `(B*K, hidden_dim)` and weights `(B, H, K, R)` float32; the weights of a row without regions are undefined.
        """
        query = beams_to_heads(self._query(rows), num_beams, self.num_heads)
        tokens, weights = decoding_attention(query, *memory, mask, key_is_transposed=True)
        return self._output(heads_to_beams(tokens)), weights

    def get_config(self) -> dict[str, Any]:
        names = ("hidden_dim", "num_heads", "use_bias", "output_bias", "dropout")
        return {**super().get_config(), **{name: getattr(self, name) for name in names}}
