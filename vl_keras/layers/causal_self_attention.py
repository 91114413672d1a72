"""Causal self-attention with a key/value cache for decoding."""

from typing import Any

import tensorflow as tf
import tf_keras as keras
from tf_keras.src.utils.control_flow_util import GraphOrParentsInXlaContext

from vl_keras.layers.attention_ops import (
    decoding_attention,
    heads_to_beams,
    merge_heads,
    scaled_dot_product_attention,
    split_heads,
)


@keras.saving.register_keras_serializable("vl_keras")
class CausalSelfAttention(keras.layers.Layer):
    """Each token reads itself and the tokens before it (Vaswani et al., 2017, section 3.2.3).

    The decoding cache keeps one slot for each (position, beam), in the order in which they were written, and never
    moves a slot: when beams are reordered, only the small mask of visible slots changes. So beam search does not copy
    the whole cache at every token.

    Args:
        hidden_dim: width; divisible by `num_heads`.
        num_heads: number of heads.
        use_bias: whether query, key, value and output have biases.
        dropout: on the attention weights.

    Args of call:
        tokens: `(B, L, D)` float.

    Returns:
        `(B, L, hidden_dim)`.

    Raises:
        ValueError: `hidden_dim` is not divisible by `num_heads`.
    """

    def __init__(
        self, hidden_dim: int, num_heads: int, use_bias: bool = True, dropout: float = 0.0, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        if hidden_dim % num_heads:
            raise ValueError(f"`hidden_dim` must be divisible by `num_heads`; got {hidden_dim} and {num_heads}.")
        self.hidden_dim = hidden_dim
        self.num_heads = num_heads
        self.use_bias = use_bias
        self.dropout = dropout
        dense, settings = keras.layers.Dense, {"use_bias": use_bias, "dtype": self.dtype_policy}
        self._projection = dense(3 * hidden_dim, name="query_key_value", **settings)
        self._output = dense(hidden_dim, name="output", **settings)
        self._dropout = keras.layers.Dropout(dropout, dtype=self.dtype_policy)

    def call(self, tokens: tf.Tensor, training: bool | None = None) -> tf.Tensor:
        query, key, value = self._project(tokens)
        length = tf.shape(tokens)[1]
        causal = tf.linalg.band_part(tf.ones((length, length), tf.bool), -1, 0)
        drop = (lambda weights: self._dropout(weights, training=training)) if self.dropout else None
        read, _ = scaled_dot_product_attention(query, key, value, causal, drop)
        return self._output(merge_heads(read))

    def empty_cache(self, batch_size: int | tf.Tensor, max_length: int, num_beams: int) -> tf.Tensor:
        """An empty decoding cache: `(2*B*H*L, K*d)`, first keys and then values, one row for each position."""
        shape = (2 * batch_size * self.num_heads * max_length, num_beams * (self.hidden_dim // self.num_heads))
        return tf.zeros(shape, self.compute_dtype)

    def step(
        self, rows: tf.Tensor, cache: tf.Tensor, written: tf.Tensor, mask: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Decodes one position of every beam.

        Args:
            rows: `(B*K, D)`, the newest token of each beam.
            cache: result of `empty_cache` or of the last step.
            written: `(2*B*H, 1)` int32, the cache's rows of this position; see `first_rows`.
            mask: `(B, 1, K, L*S)`, result of `additive_mask`, for a cache with room for S >= K beams: it lets each beam
                read the slots of its own past and of this position.

        Returns:
            `(B*K, hidden_dim)` and the new cache.
        """
        heads, width = self.num_heads, self.hidden_dim // self.num_heads
        num_beams, num_slots = mask.shape[2:]
        new = tf.transpose(tf.reshape(self._projection(rows), (-1, num_beams, 3, heads, width)), (2, 0, 3, 1, 4))
        beside = cache.shape[1] - num_beams * width
        cache = _write(cache, written, tf.pad(tf.reshape(new[1:], (-1, num_beams * width)), ((0, 0), (0, beside))))
        past = tf.reshape(cache, (2, -1, heads, num_slots, width))
        read, _ = decoding_attention(new[0], past[0], past[1], mask)
        return self._output(heads_to_beams(read)), cache

    def _project(self, tokens: tf.Tensor) -> list[tf.Tensor]:
        return [split_heads(part, self.num_heads) for part in tf.split(self._projection(tokens), 3, axis=-1)]

    def get_config(self) -> dict[str, Any]:
        names = ("hidden_dim", "num_heads", "use_bias", "dropout")
        return {**super().get_config(), **{name: getattr(self, name) for name in names}}


def first_rows(batch_size: int | tf.Tensor, num_heads: int, max_length: int) -> tf.Tensor:
    """`(2*B*H, 1)` int32: the rows of a cache that hold position 0. Add p for the rows of position p."""
    return tf.range(2 * batch_size * num_heads)[:, None] * max_length


def _write(cache: tf.Tensor, rows: tf.Tensor, new: tf.Tensor) -> tf.Tensor:
    if _compiled_by_xla():
        return tf.tensor_scatter_nd_update(cache, rows, new)
    # On CPU, TensorFlow copies the whole cache for an update, but adds to its empty rows in place.
    return tf.raw_ops.ScatterNdNonAliasingAdd(input=cache, indices=rows, updates=new)


def _compiled_by_xla() -> bool:
    """Whether XLA compiles the function that is being traced; XLA has no `ScatterNdNonAliasingAdd`."""
    return GraphOrParentsInXlaContext(tf.compat.v1.get_default_graph())
