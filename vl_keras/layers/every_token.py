"""The mask of tokens that are all real."""

import tensorflow as tf
import tf_keras as keras


@keras.saving.register_keras_serializable("vl_keras")
class EveryToken(keras.layers.Layer):
    """Marks every token as real. The only place that makes a mask for tokens which come without one.

    Args of call:
        tokens: `(B, R, D)` float.

    Returns:
        `(B, R)` bool, True everywhere.
    """

    def call(self, tokens: tf.Tensor) -> tf.Tensor:
        return tf.ones(tf.shape(tokens)[:2], tf.bool)

    def compute_output_shape(self, input_shape: tuple) -> tf.TensorShape:
        return tf.TensorShape(tuple(input_shape)[:2])
