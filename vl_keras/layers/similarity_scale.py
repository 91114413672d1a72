"""The learned temperature and bias of a contrastive loss."""

import math
from typing import Any

import tensorflow as tf
import tf_keras as keras

# "Clipped to prevent scaling the logits by more than 100" (Radford et al., 2021, section 2.5). A constraint on the
# variable, because a loss that clips the scale would have no gradient to bring it back.
_MAX_LOG_SCALE = math.log(100.0)


class _AtMost(keras.constraints.Constraint):
    def __call__(self, value: tf.Tensor) -> tf.Tensor:
        return tf.minimum(value, _MAX_LOG_SCALE)


@keras.saving.register_keras_serializable("vl_keras")
class SimilarityScale(keras.layers.Layer):
    """Holds the logarithm of one over the temperature, at most log 100 (Radford et al., 2021, section 2.5), and a bias.

    Args:
        log_scale, bias: initial values; None means 0 and not learned.

    Args of call:
        inputs: anything; the layer does not read it.

    Returns:
        `(log_scale, bias)`, float32 scalars.
    """

    def __init__(self, log_scale: float | None = None, bias: float | None = None, **kwargs: Any) -> None:
        super().__init__(**{**kwargs, "dtype": "float32"})
        self.log_scale = log_scale
        self.bias = bias

    def build(self, input_shape: Any) -> None:
        self._scale = self._add("log_scale", self.log_scale, _AtMost())
        self._bias = self._add("bias", self.bias, None)
        super().build(input_shape)

    def call(self, inputs: Any) -> tuple[tf.Tensor, tf.Tensor]:
        return tf.convert_to_tensor(self._scale), tf.convert_to_tensor(self._bias)

    def _add(self, name: str, start: float | None, constraint: keras.constraints.Constraint | None) -> tf.Variable:
        value = keras.initializers.Constant(start or 0.0)
        return self.add_weight(name, (), initializer=value, trainable=start is not None, constraint=constraint)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "log_scale": self.log_scale, "bias": self.bias}
