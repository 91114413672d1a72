"""Pre-norm Transformer blocks (Xiong et al., 2020, figure 1b): normalise, transform, add."""

import tensorflow as tf
import tf_keras as keras

from vl_keras.layers.causal_self_attention import CausalSelfAttention
from vl_keras.layers.cross_modal_attention import CrossModalAttention
from vl_keras.layers.layer_norm import layer_norm


@keras.saving.register_keras_serializable("vl_keras")
class FeedForward(keras.layers.Layer):
    """`W2 · max(0, W1 x)` at every position (Vaswani et al., 2017, section 3.3, equation 2).

    Args of call:
        tokens: `(…, D)` float.

    Returns:
        `(…, hidden_dim)`.
    """

    def __init__(self, hidden_dim, intermediate_dim, **kwargs):
        super().__init__(**kwargs)
        self.hidden_dim = hidden_dim
        self.intermediate_dim = intermediate_dim
        self._inner = keras.layers.Dense(intermediate_dim, activation="relu", name="inner", dtype=self.dtype_policy)
        self._outer = keras.layers.Dense(hidden_dim, name="outer", dtype=self.dtype_policy)

    def call(self, tokens):
        return self._outer(self._inner(tokens))

    def get_config(self):
        return {
            **super().get_config(),
            "hidden_dim": self.hidden_dim,
            "intermediate_dim": self.intermediate_dim,
        }


class _Block(keras.layers.Layer):
    """What both blocks share: their settings, norms and residual dropout (Vaswani et al., 2017, section 5.4).

    Dropout of attention weights and inside the feed-forward layer is left out: drawing those random numbers cost a
    third of a training step on CPU.
    """

    num_norms = 2

    def __init__(self, hidden_dim, num_heads, intermediate_dim, dropout=0.0, **kwargs):
        super().__init__(**kwargs)
        self.hidden_dim = hidden_dim
        self.num_heads = num_heads
        self.intermediate_dim = intermediate_dim
        self.dropout = dropout
        self._norms = [
            keras.layers.LayerNormalization(epsilon=1e-6, name=f"norm_{i}", dtype=self.dtype_policy)
            for i in range(self.num_norms)
        ]
        self._feed_forward = FeedForward(hidden_dim, intermediate_dim, name="feed_forward", dtype=self.dtype_policy)
        self._dropout = keras.layers.Dropout(dropout, dtype=self.dtype_policy)

    def get_config(self):
        return {
            **super().get_config(),
            "hidden_dim": self.hidden_dim,
            "num_heads": self.num_heads,
            "intermediate_dim": self.intermediate_dim,
            "dropout": self.dropout,
        }


@keras.saving.register_keras_serializable("vl_keras")
class TransformerEncoderBlock(_Block):
    """Tokens of one modality read each other.

    Args of call:
        tokens: `(B, R, hidden_dim)` float.
        mask: `(B, R)` bool, True = real token.

    Returns:
        `(B, R, hidden_dim)`, and `(B, H, R, R)` attention weights where `return_attention_scores=True`.
    """

    def __init__(self, hidden_dim, num_heads, intermediate_dim, dropout=0.0, **kwargs):
        super().__init__(hidden_dim, num_heads, intermediate_dim, dropout, **kwargs)
        # Reading one's own modality is the same arithmetic with query and value alike.
        self._attention = CrossModalAttention(hidden_dim, num_heads, name="self_attention", dtype=self.dtype_policy)

    def call(self, tokens, mask=None, return_attention_scores=False, training=None):
        normed = self._norms[0](tokens)
        read, weights = self._attention(normed, normed, mask, return_attention_scores=True)
        tokens = tokens + self._dropout(read, training=training)
        written = self._feed_forward(self._norms[1](tokens))
        tokens = tokens + self._dropout(written, training=training)
        return (tokens, weights) if return_attention_scores else tokens


@keras.saving.register_keras_serializable("vl_keras")
class TransformerDecoderBlock(_Block):
    """Caption tokens read their own past, then a memory, e.g. image tokens.

    Args of call:
        tokens: `(B, K, L, hidden_dim)` float: K captions of one image, each L tokens.
        memory: `(B, R, D)` float, read by all K captions without being repeated.
        memory_mask: `(B, R)` bool, True = real region.

    Returns:
        `(B, K, L, hidden_dim)`, and the cross-attention weights `(B, H, K*L, R)`.
    """

    num_norms = 3

    def __init__(self, hidden_dim, num_heads, intermediate_dim, dropout=0.0, **kwargs):
        super().__init__(hidden_dim, num_heads, intermediate_dim, dropout, **kwargs)
        self.self_attention = CausalSelfAttention(hidden_dim, num_heads, name="self_attention", dtype=self.dtype_policy)
        self.cross_attention = CrossModalAttention(
            hidden_dim, num_heads, name="cross_attention", dtype=self.dtype_policy
        )

    def call(self, tokens, memory, memory_mask=None, training=None):
        shape = tf.shape(tokens)
        rows = tf.reshape(tokens, (shape[0] * shape[1], shape[2], self.hidden_dim))
        read = self.self_attention(self._norms[0](rows))
        rows = rows + self._dropout(read, training=training)
        rows = tf.reshape(rows, (shape[0], shape[1] * shape[2], self.hidden_dim))
        key, value = self.cross_attention.project(memory)
        read, weights = self.cross_attention.attend(self._norms[1](rows), key, value, memory_mask)
        rows = rows + self._dropout(read, training=training)
        written = self._feed_forward(self._norms[2](rows))
        rows = rows + self._dropout(written, training=training)
        return tf.reshape(rows, shape), weights

    def step(self, rows, cache, written, mask, memory, memory_mask):
        """One position of every beam, by the weights of `call`.

        Args:
            rows: `(B*K, hidden_dim)`, the newest token of each beam.
            cache, written, mask: as of `CausalSelfAttention.step`.
            memory, memory_mask: `memory` and `mask` of `CrossModalAttention.read`.

        Returns:
            `(B*K, hidden_dim)`, cross-attention weights `(B, H, K, R)`, and the new cache.
        """
        num_beams = mask.shape[2]
        read, cache = self.self_attention.step(layer_norm(rows, self._norms[0]), cache, written, mask)
        rows = rows + read
        read, weights = self.cross_attention.read(layer_norm(rows, self._norms[1]), num_beams, memory, memory_mask)
        rows = rows + read
        return rows + self._feed_forward(layer_norm(rows, self._norms[2])), weights, cache
