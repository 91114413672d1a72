"""The arithmetic of attention, shared by every layer that attends."""

import tensorflow as tf

from vl_keras.layers.masked_softmax import masked_softmax


def scaled_dot_product_attention(query, key, value, mask=None):
    """Softmax of scaled inner products, applied to the values (Vaswani et al., 2017, section 3.2.1, equation 1).

    Args:
        query: `(B, H, T, d)` float.
        key, value: `(B, H, S, d)` float.
        mask: bool that broadcasts to `(B, H, T, S)`, True = keep. A query with nothing to keep reads zeros.

    Returns:
        `(B, H, T, d)` in the dtype of `value`, and the weights `(B, H, T, S)` float32.
    """
    scale = tf.math.rsqrt(tf.cast(tf.shape(query)[-1], query.dtype))
    scores = tf.matmul(query * scale, key, transpose_b=True)
    # The softmax runs in float32: in half precision a long row of small weights does not sum to one.
    weights = tf.nn.softmax(tf.cast(scores, tf.float32)) if mask is None else masked_softmax(scores, mask)
    return tf.matmul(tf.cast(weights, value.dtype), value), weights


def split_heads(tokens, num_heads):
    """`(B, T, H*d)` to `(B, H, T, d)`."""
    shape = tf.shape(tokens)
    width = tokens.shape[-1] // num_heads
    return tf.transpose(tf.reshape(tokens, (shape[0], shape[1], num_heads, width)), (0, 2, 1, 3))


def merge_heads(tokens):
    """`(B, H, T, d)` to `(B, T, H*d)`."""
    shape = tf.shape(tokens)
    width = tokens.shape[1] * tokens.shape[3]
    return tf.reshape(tf.transpose(tokens, (0, 2, 1, 3)), (shape[0], shape[2], width))
