"""The arithmetic of a layer norm, for decoding."""

import tensorflow as tf


def layer_norm(tokens, norm):
    """What the Keras layer `norm` makes of `(N, D)` tokens (Ba et al., 2016, section 3).

    The layer itself fixes its axis when it is built, with whole captions, and runs two operations more for each norm; a
    decoding step has rows, and norms by the dozen.
    """
    wide = tf.cast(tokens, tf.float32)
    centred = wide - tf.reduce_mean(wide, axis=-1, keepdims=True)
    variance = tf.reduce_mean(tf.square(centred), axis=-1, keepdims=True)
    scale = tf.math.rsqrt(variance + norm.epsilon) * norm.gamma
    return tf.cast(centred * scale + norm.beta, tokens.dtype)
