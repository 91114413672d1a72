"""An LSTM layer with a visual sentinel."""

from collections.abc import Sequence
from typing import Any

import tensorflow as tf
import tf_keras as keras


@keras.saving.register_keras_serializable("vl_keras")
class SentinelLstmCell(keras.layers.Layer):
    """One step of an LSTM (Hochreiter and Schmidhuber, 1997) that also computes a visual sentinel.

    The sentinel is the information in the LSTM's memory, without the image: `s = sigmoid(W_x x + W_h h') * tanh(c)`
    (Lu et al., 2017, "Knowing When to Look", equations 9 and 10).

    Args:
        hidden_dim: D.

    Args of call:
        inputs: `(N, 5 * D)`, the step's input already projected to the five gates.
        states: the last output and memory, each `(N, D)`.

    Returns:
        `(N, 2 * D)`, output and sentinel side by side, and the new states.
    """

    def __init__(self, hidden_dim: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.hidden_dim = hidden_dim
        self.state_size = [hidden_dim, hidden_dim]
        self.output_size = 2 * hidden_dim

    def build(self, input_shape: Any) -> None:
        self.recurrent_kernel = self.add_weight(
            "recurrent_kernel", (self.hidden_dim, 5 * self.hidden_dim), initializer="orthogonal"
        )
        super().build(input_shape)

    def call(self, inputs: tf.Tensor, states: Sequence[tf.Tensor]) -> tuple[tf.Tensor, list[tf.Tensor]]:
        output, memory = states
        gates = inputs + tf.matmul(output, tf.cast(self.recurrent_kernel, output.dtype))
        output, sentinel, memory = self.open(gates, memory)
        return tf.concat([output, sentinel], axis=-1), [output, memory]

    def open(self, gates: tf.Tensor, memory: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """Applies the gates.

        Args:
            gates: `(N, 5 * D)`, the five gates before their nonlinearity.
            memory: `(N, D)`.

        Returns:
            Output, sentinel and new memory, each `(N, D)`.
        """
        write, forget, read, look, new = tf.split(gates, 5, axis=-1)
        # The added one keeps the memory at the start of training (Jozefowicz et al., 2015, section 2.2).
        memory = tf.sigmoid(forget + 1.0) * memory + tf.sigmoid(write) * tf.tanh(new)
        squashed = tf.tanh(memory)
        return tf.sigmoid(read) * squashed, tf.sigmoid(look) * squashed, memory

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "hidden_dim": self.hidden_dim}


@keras.saving.register_keras_serializable("vl_keras")
class SentinelLstm(keras.layers.Layer):
    """`SentinelLstmCell` over a sequence; the input projection of all steps is one matrix product.

    Args:
        hidden_dim: D.

    Args of call:
        inputs: `(N, L, any width)` float.
        initial_state: output and memory before the first step, each `(N, D)`.

    Returns:
        Outputs `(N, L, D)` and sentinels `(N, L, D)`.
    """

    def __init__(self, hidden_dim: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.hidden_dim = hidden_dim
        self._gates = keras.layers.Dense(5 * hidden_dim, name="gates", dtype=self.dtype_policy)
        self._cell = SentinelLstmCell(hidden_dim, name="cell", dtype=self.dtype_policy)
        self._steps = keras.layers.RNN(self._cell, return_sequences=True, name="steps", dtype=self.dtype_policy)

    def call(self, inputs: tf.Tensor, initial_state: Sequence[tf.Tensor]) -> list[tf.Tensor]:
        # Keras casts only a layer's first argument to its compute dtype.
        state = [tf.cast(part, self.compute_dtype) for part in initial_state]
        both = self._steps(self._gates(inputs), initial_state=state)
        return tf.split(both, 2, axis=-1)

    def constant_gates(self, inputs: tf.Tensor) -> tf.Tensor:
        """Computes the part of the gates that is the same at every step, including the bias.

        Args:
            inputs: `(N, W)`, the last W entries of every step's input, which do not change from step to step.

        Returns:
            `(N, 5 * D)`.
        """
        inputs = tf.cast(inputs, self.compute_dtype)
        kernel = tf.cast(self._gates.kernel[-inputs.shape[-1] :], inputs.dtype)
        return tf.matmul(inputs, kernel) + tf.cast(self._gates.bias, inputs.dtype)

    def step(
        self, inputs: tf.Tensor, states: Sequence[tf.Tensor], constant: tf.Tensor | None = None
    ) -> tuple[tf.Tensor, tf.Tensor, list[tf.Tensor]]:
        """Runs one step.

        Args:
            inputs: `(N, any width)`; without the entries that `constant` accounts for.
            states: the last output and memory, each `(N, D)`.
            constant: result of `constant_gates`, or None if `inputs` is complete.

        Returns:
            Output `(N, D)`, sentinel `(N, D)` and the new states.
        """
        output, memory = states
        if constant is None:
            gates = self._gates(inputs)
        else:
            gates = tf.matmul(inputs, tf.cast(self._gates.kernel[: inputs.shape[-1]], inputs.dtype)) + constant
        gates += tf.matmul(output, tf.cast(self._cell.recurrent_kernel, output.dtype))
        output, sentinel, memory = self._cell.open(gates, memory)
        return output, sentinel, [output, memory]

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "hidden_dim": self.hidden_dim}
