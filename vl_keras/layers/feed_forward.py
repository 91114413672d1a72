"""The feed-forward part of a Transformer block."""

from typing import Any

import tensorflow as tf
import tf_keras as keras

from vl_keras.layers.activations import activation_function


@keras.saving.register_keras_serializable("vl_keras")
class FeedForward(keras.layers.Layer):
    """`W2 · f(W1 x + b1) + b2` at every position (Vaswani et al., 2017, section 3.3, equation 2).

    Args:
        hidden_dim: width of the output.
        intermediate_dim: width between the two.
        activation: f, a name in `ACTIVATIONS`.
        use_bias: whether there are `b1` and `b2`.
        dropout: on what f gives.

    Args of call:
        tokens: `(…, D)` float.

    Returns:
        `(…, hidden_dim)`.

    Raises:
        ValueError: there is no such activation.
    """

    def __init__(
        self,
        hidden_dim: int,
        intermediate_dim: int,
        activation: str = "relu",
        use_bias: bool = True,
        dropout: float = 0.0,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.hidden_dim = hidden_dim
        self.intermediate_dim = intermediate_dim
        self.activation = activation
        self.use_bias = use_bias
        self.dropout = dropout
        dense, settings = keras.layers.Dense, {"use_bias": use_bias, "dtype": self.dtype_policy}
        self._inner = dense(intermediate_dim, activation_function(activation), name="inner", **settings)
        self._outer = dense(hidden_dim, name="outer", **settings)
        self._dropout = keras.layers.Dropout(dropout, dtype=self.dtype_policy)

    def call(self, tokens: tf.Tensor, training: bool | None = None) -> tf.Tensor:
        return self._outer(self._dropout(self._inner(tokens), training=training))

    def get_config(self) -> dict[str, Any]:
        names = ("hidden_dim", "intermediate_dim", "activation", "use_bias", "dropout")
        return {**super().get_config(), **{name: getattr(self, name) for name in names}}
