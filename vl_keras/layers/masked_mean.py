"""The mean of the real tokens of a sequence."""

import tensorflow as tf


def masked_mean(tokens: tf.Tensor, mask: tf.Tensor) -> tf.Tensor:
    """Mean of the real tokens of each row.

    Args:
        tokens: `(B, R, D)` float.
        mask: `(B, R)` bool, True = real token.

    Returns:
        `(B, D)` in the dtype of `tokens`; zeros for a row without real tokens.
    """
    kept = tf.cast(mask, tf.float32)[..., None]
    total = tf.reduce_sum(tf.cast(tokens, tf.float32) * kept, axis=1)
    return tf.cast(total / tf.maximum(tf.reduce_sum(kept, axis=1), 1.0), tokens.dtype)
