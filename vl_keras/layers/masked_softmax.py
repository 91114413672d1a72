"""The softmax over the entries that a mask keeps."""

import tensorflow as tf


def masked_softmax(scores: tf.Tensor, mask: tf.Tensor) -> tf.Tensor:
    """Softmax over the last axis, in float32.

    Args:
        scores: `(…, N)` float.
        mask: bool that broadcasts to `scores`, True = keep.

    Returns:
        `(…, N)` float32; zeros for a row of which nothing is kept.
    """
    kept = tf.cast(mask, tf.float32)
    return tf.nn.softmax(tf.cast(scores, tf.float32) + (kept - 1.0) * 1e9) * kept
