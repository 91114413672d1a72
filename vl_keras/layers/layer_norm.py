"""The arithmetic of a layer norm, for decoding."""

import tensorflow as tf
import tf_keras as keras


def layer_norm(tokens: tf.Tensor, norm: keras.layers.LayerNormalization) -> tf.Tensor:
    """Applies the Keras layer `norm` to `(N, D)` tokens (Ba et al., 2016, section 3).

    We do not call the layer itself: it was built for whole captions, so its axis is fixed to theirs, while a decoding
    step has rows; and it runs two more operations for each of the dozens of norms in a step.
    """
    wide = tf.cast(tokens, tf.float32)
    centred = wide - tf.reduce_mean(wide, axis=-1, keepdims=True)
    variance = tf.reduce_mean(tf.square(centred), axis=-1, keepdims=True)
    scale = tf.math.rsqrt(variance + norm.epsilon) * norm.gamma
    return tf.cast(centred * scale + norm.beta, tokens.dtype)
