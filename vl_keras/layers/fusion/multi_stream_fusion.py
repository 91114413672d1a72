"""Fusion of any number of streams by gated attention."""

import tensorflow as tf
import tf_keras as keras

from vl_keras.layers.masked_mean import masked_mean
from vl_keras.layers.masked_softmax import masked_softmax


@keras.saving.register_keras_serializable("vl_keras")
class MultiStreamFusion(keras.layers.Layer):
    """N streams of tokens; every stream reads every other one, each reading scaled by a learned gate.

    With `x_i` the tokens of stream i after its own linear map and `Q_i`, `K_i`, `V_i` linear maps of these, for every
    ordered pair `i ≠ j`: `α_ij = softmax(Q_i K_jᵀ / √D)`, `y_i = x_i + Σ_j g_ij α_ij V_j` with the gate
    `g_ij = σ(γ_ij)`, γ learned. The result is `[mean(y_1); …; mean(y_N)]`.

    Args:
        hidden_dim: D.
        num_streams: N, at least 2.

    Args of call:
        inputs: tokens and mask of each stream in turn: `tokens_1` `(B, T_1, D_1)` float, `mask_1` `(B, T_1)` bool
            (True = real), `tokens_2`, `mask_2`, …

    Returns:
        `(B, N*hidden_dim)`, and `α_12` `(B, T_1, T_2)` float32 where `return_attention_scores=True`.

    Raises:
        ValueError: fewer than two streams, or not as many as `num_streams`.
    """

    reads = "tokens"

    def __init__(self, hidden_dim, num_streams=2, **kwargs):
        super().__init__(**kwargs)
        if num_streams < 2:
            raise ValueError(f"`num_streams` must be at least 2; got {num_streams}.")
        self.hidden_dim = hidden_dim
        self.num_streams = num_streams
        dense, policy = keras.layers.Dense, {"dtype": self.dtype_policy}
        self._inputs = [dense(hidden_dim, name=f"input_{i}", **policy) for i in range(num_streams)]
        self._projections = [dense(3 * hidden_dim, name=f"query_key_value_{i}", **policy) for i in range(num_streams)]

    def build(self, input_shape):
        shape = (self.num_streams, self.num_streams)  # the diagonal is not used
        self.gates = self.add_weight(name="gates", shape=shape, initializer="zeros")
        super().build(input_shape)

    def call(self, *inputs, return_attention_scores=False):
        if len(inputs) != 2 * self.num_streams:
            raise ValueError(
                f"{self.num_streams} streams take {2 * self.num_streams} inputs, tokens and mask of each; "
                f"got {len(inputs)}."
            )
        masks = inputs[1::2]
        tokens = [project(stream) for project, stream in zip(self._inputs, inputs[::2], strict=True)]
        parts = [
            tf.split(project(stream), 3, axis=-1) for project, stream in zip(self._projections, tokens, strict=True)
        ]
        gates = tf.sigmoid(tf.cast(self.gates, tf.float32))
        vectors, first = [], None
        for i, (query, _, _) in enumerate(parts):
            hidden = tokens[i]
            for j, (_, key, value) in enumerate(parts):
                if i == j:
                    continue
                scores = tf.matmul(query, key, transpose_b=True) / self.hidden_dim**0.5
                weights = masked_softmax(scores, masks[j][:, None, :])
                first = weights if first is None else first
                hidden += tf.cast(gates[i, j], value.dtype) * tf.matmul(tf.cast(weights, value.dtype), value)
            vectors.append(masked_mean(hidden, masks[i]))
        fused = tf.concat(vectors, axis=-1)
        return (fused, first) if return_attention_scores else fused

    def get_config(self):
        return {**super().get_config(), "hidden_dim": self.hidden_dim, "num_streams": self.num_streams}
