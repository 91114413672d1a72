"""Self-attention of a caption over its own past, with a key/value cache for decoding."""

import tensorflow as tf
import tf_keras as keras

from vl_keras.layers.attention_ops import merge_heads, scaled_dot_product_attention, split_heads


@keras.saving.register_keras_serializable("vl_keras")
class CausalSelfAttention(keras.layers.Layer):
    """Each token reads itself and the tokens before it (Vaswani et al., 2017, section 3.2.3).

    The decoding cache keeps one slot for each (position, beam), in the order they were written, and never moves them:
    when beams change places only the small table of visible slots follows. That keeps beam search from copying the
    whole cache at every token.

    Args:
        hidden_dim: width; divides by `num_heads`.
        num_heads: number of heads.

    Args of call:
        tokens: `(B, L, D)` float.

    Returns:
        `(B, L, hidden_dim)`.
    """

    def __init__(self, hidden_dim, num_heads, **kwargs):
        super().__init__(**kwargs)
        if hidden_dim % num_heads:
            raise ValueError(f"`hidden_dim` must divide by `num_heads`; got {hidden_dim} and {num_heads}.")
        self.hidden_dim = hidden_dim
        self.num_heads = num_heads
        self._projection = keras.layers.Dense(3 * hidden_dim, name="query_key_value", dtype=self.dtype_policy)
        self._output = keras.layers.Dense(hidden_dim, name="output", dtype=self.dtype_policy)

    def call(self, tokens):
        query, key, value = self._project(tokens)
        length = tf.shape(tokens)[1]
        causal = tf.linalg.band_part(tf.ones((length, length), tf.bool), -1, 0)
        read, _ = scaled_dot_product_attention(query, key, value, causal)
        return self._output(merge_heads(read))

    def empty_cache(self, batch_size, num_slots):
        """Keys and values `(B, H, num_slots, d)` for decoding, zero."""
        shape = (batch_size, self.num_heads, num_slots, self.hidden_dim // self.num_heads)
        return tf.zeros(shape, self.compute_dtype), tf.zeros(shape, self.compute_dtype)

    def step(self, tokens, cache, position, visible):
        """Decodes one position of every beam.

        Args:
            tokens: `(B, K, D)`, the newest token of each beam.
            cache: keys and values as `empty_cache` makes them, with `K` slots a position.
            position: scalar int32, the position of `tokens`.
            visible: `(B, K, num_slots)` bool, the slots that are each beam's own past, this position included.

        Returns:
            `(B, K, hidden_dim)` and the cache with slots `position*K … position*K+K-1` written.
        """
        query, key, value = self._project(tokens)
        keys, values = (_write(slots, new, position) for slots, new in zip(cache, (key, value), strict=True))
        read, _ = scaled_dot_product_attention(query, keys, values, visible[:, None])
        return self._output(merge_heads(read)), (keys, values)

    def _project(self, tokens):
        return [split_heads(part, self.num_heads) for part in tf.split(self._projection(tokens), 3, axis=-1)]

    def get_config(self):
        return {
            **super().get_config(),
            "hidden_dim": self.hidden_dim,
            "num_heads": self.num_heads,
        }


def _write(slots, new, position):
    """`slots` `(B, H, S, d)` with `new` `(B, H, K, d)` at slots `position*K …`; in place where TensorFlow owns them."""
    batch, heads, beams = tf.shape(new)[0], new.shape[1], tf.shape(new)[2]
    rows = tf.range(batch * heads * beams)
    where = tf.stack(
        [rows // (heads * beams), rows // beams % heads, position * beams + rows % beams],
        axis=-1,
    )
    return tf.tensor_scatter_nd_update(slots, where, tf.reshape(new, (-1, new.shape[-1])))
