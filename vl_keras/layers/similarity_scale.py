"""The learned temperature and bias of a contrastive loss."""

import tensorflow as tf
import tf_keras as keras

_MAX_LOG_SCALE = 4.6051702  # log 100


class _AtMost(keras.constraints.Constraint):
    def __call__(self, value):
        return tf.minimum(value, _MAX_LOG_SCALE)


@keras.saving.register_keras_serializable("vl_keras")
class SimilarityScale(keras.layers.Layer):
    """Holds the logarithm of one over the temperature, at most log 100 (Radford et al., 2021, section 2.5), and a bias.

    Args:
        log_scale, bias: where they start; None: 0, and not learned.

    Args of call:
        inputs: anything; it is not read.

    Returns:
        `(log_scale, bias)`, float32 scalars.
    """

    def __init__(self, log_scale=None, bias=None, **kwargs):
        super().__init__(**{**kwargs, "dtype": "float32"})
        self.log_scale = log_scale
        self.bias = bias

    def build(self, input_shape):
        self._scale = self._add("log_scale", self.log_scale, _AtMost())
        self._bias = self._add("bias", self.bias, None)
        super().build(input_shape)

    def call(self, inputs):
        return tf.convert_to_tensor(self._scale), tf.convert_to_tensor(self._bias)

    def _add(self, name, start, constraint):
        value = keras.initializers.Constant(start or 0.0)
        return self.add_weight(name, (), initializer=value, trainable=start is not None, constraint=constraint)

    def get_config(self):
        return {**super().get_config(), "log_scale": self.log_scale, "bias": self.bias}
