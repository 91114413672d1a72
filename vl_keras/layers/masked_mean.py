"""The mean of the real tokens of a sequence."""

import tensorflow as tf


def masked_mean(tokens, mask):
    """`(B, R, D)` tokens and `(B, R)` bool mask to `(B, D)`, in the dtype of the tokens; no real token gives zeros."""
    kept = tf.cast(mask, tf.float32)[..., None]
    total = tf.reduce_sum(tf.cast(tokens, tf.float32) * kept, axis=1)
    return tf.cast(total / tf.maximum(tf.reduce_sum(kept, axis=1), 1.0), tokens.dtype)
