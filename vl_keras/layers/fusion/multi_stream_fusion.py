"""Fusion of any number of streams by gated attention."""

from collections.abc import Sequence
from typing import Any

import tensorflow as tf
import tf_keras as keras

from vl_keras.layers.masked_mean import masked_mean
from vl_keras.layers.masked_softmax import masked_softmax


@keras.saving.register_keras_serializable("vl_keras")
class MultiStreamFusion(keras.layers.Layer):
    """N named streams of tokens; every stream reads every other one, each reading scaled by a learned gate.

    With `x_i` the tokens of stream i after its own linear map and `Q_i`, `K_i`, `V_i` linear maps of these, for every
    ordered pair `i ≠ j`: `α_ij = softmax(Q_i K_jᵀ / √D)`, `y_i = x_i + Σ_j g_ij α_ij V_j` with the gate
    `g_ij = σ(γ_ij)`, γ learned. The result is `[mean(y_1); …; mean(y_N)]`. A stream that is absent in a row (its mask
    is all false there) is gated out: the others read zeros from it, its own mean is zero, and its content changes
    nothing.

    Args:
        hidden_dim: D.
        streams: names of the N streams, at least 2, in the order in which they are given.

    Args of call:
        inputs: tokens and mask of each stream in turn: `tokens_1` `(B, T_1, D_1)` float, `mask_1` `(B, T_1)` bool
            (True = real), `tokens_2`, `mask_2`, …

    Returns:
        `(B, N*hidden_dim)`, and `α_12` `(B, T_1, T_2)` float32 where `return_attention_scores=True`.

    Raises:
        ValueError: fewer than two streams, two of one name, or not as many inputs as they take.
    """

    reads = "tokens"
    takes_more_streams = True  # than a text and an image

    def __init__(self, hidden_dim: int, streams: Sequence[str] = ("text", "image"), **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if len(streams) < 2 or len(set(streams)) < len(streams):
            raise ValueError(f"`streams` must be at least 2 different names; got {', '.join(streams) or 'none'}.")
        self.hidden_dim = hidden_dim
        self.streams = tuple(streams)
        dense, policy = keras.layers.Dense, {"dtype": self.dtype_policy}
        count = len(streams)
        self._inputs = [dense(hidden_dim, name=f"input_{i}", **policy) for i in range(count)]
        self._projections = [dense(3 * hidden_dim, name=f"query_key_value_{i}", **policy) for i in range(count)]

    def build(self, input_shape: Any) -> None:
        shape = (len(self.streams), len(self.streams))  # the diagonal is not used
        self.gates = self.add_weight(name="gates", shape=shape, initializer="zeros")
        super().build(input_shape)

    def call(
        self, *inputs: tf.Tensor, return_attention_scores: bool = False
    ) -> tf.Tensor | tuple[tf.Tensor, tf.Tensor]:
        if len(inputs) != 2 * len(self.streams):
            raise ValueError(
                f"The streams {', '.join(self.streams)} take {2 * len(self.streams)} inputs, tokens and mask of each; "
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

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "hidden_dim": self.hidden_dim, "streams": list(self.streams)}
