"""The softmax over what a mask keeps."""

import tensorflow as tf


def masked_softmax(scores, mask):
    """Softmax over the last axis in float32; `mask` is bool, True = keep, and broadcasts. Nothing kept gives zeros."""
    kept = tf.cast(mask, tf.float32)
    return tf.nn.softmax(tf.cast(scores, tf.float32) + (kept - 1.0) * 1e9) * kept
