"""The arithmetic of attention, shared by every layer that attends."""

from collections.abc import Callable

import tensorflow as tf

from vl_keras.layers.masked_softmax import masked_softmax


def scaled_dot_product_attention(
    query: tf.Tensor,
    key: tf.Tensor,
    value: tf.Tensor,
    mask: tf.Tensor | None = None,
    drop: Callable[[tf.Tensor], tf.Tensor] | None = None,
) -> tuple[tf.Tensor, tf.Tensor]:
    """Softmax of scaled inner products, applied to the values (Vaswani et al., 2017, section 3.2.1, equation 1).

    Args:
        query: `(B, H, T, d)` float.
        key, value: `(B, H, S, d)` float.
        mask: bool that broadcasts to `(B, H, T, S)`, True = keep. A query whose whole row is masked reads zeros.
        drop: dropout of the weights that are applied.

    Returns:
        `(B, H, T, d)` in the dtype of `value`, and the weights `(B, H, T, S)` float32, before dropout.
    """
    scale = tf.math.rsqrt(tf.cast(tf.shape(query)[-1], query.dtype))
    scores = tf.matmul(query * scale, key, transpose_b=True)
    # The softmax runs in float32: in half precision a long row of small weights does not sum to one.
    weights = tf.nn.softmax(tf.cast(scores, tf.float32)) if mask is None else masked_softmax(scores, mask)
    applied = tf.cast(weights, value.dtype)
    return tf.matmul(applied if drop is None else drop(applied), value), weights


def additive_mask(mask: tf.Tensor) -> tf.Tensor:
    """Converts a bool mask (True = keep) to numbers to add to attention scores: masked positions get weight zero."""
    return tf.where(mask, 0.0, -1e9)


def decoding_attention(
    query: tf.Tensor, key: tf.Tensor, value: tf.Tensor, mask: tf.Tensor, key_is_transposed: bool = False
) -> tuple[tf.Tensor, tf.Tensor]:
    """`scaled_dot_product_attention` for one decoding step; TensorFlow fuses scale and mask into the matrix product.

    Args:
        query: `(B, H, K, d)` float, one token of each of K captions.
        key: `(B, H, S, d)` float; or, with `key_is_transposed=True`, `(B, H, d, S)`, which is faster to read.
        value: `(B, H, S, d)` float.
        mask: result of `additive_mask`, broadcasts to `(B, H, K, S)`; a query whose whole row is masked reads the mean.
        key_is_transposed: whether `key` is `(B, H, d, S)`.

    Returns:
        `(B, H, K, d)` in the dtype of `value`, and the weights `(B, H, K, S)` float32.
    """
    scores = tf.matmul(query, key, transpose_b=not key_is_transposed) * query.shape[-1] ** -0.5
    weights = tf.nn.softmax(tf.cast(scores, tf.float32) + mask)
    return tf.matmul(tf.cast(weights, value.dtype), value), weights


def beams_to_heads(rows: tf.Tensor, num_beams: int, num_heads: int) -> tf.Tensor:
    """`(B*K, H*d)` to `(B, H, K, d)`."""
    width = rows.shape[-1] // num_heads
    return tf.transpose(tf.reshape(rows, (-1, num_beams, num_heads, width)), (0, 2, 1, 3))


def heads_to_beams(tokens: tf.Tensor) -> tf.Tensor:
    """`(B, H, K, d)` to `(B*K, H*d)`."""
    return tf.reshape(tf.transpose(tokens, (0, 2, 1, 3)), (-1, tokens.shape[1] * tokens.shape[3]))


def split_heads(tokens: tf.Tensor, num_heads: int) -> tf.Tensor:
    """`(B, T, H*d)` to `(B, H, T, d)`."""
    shape = tf.shape(tokens)
    width = tokens.shape[-1] // num_heads
    return tf.transpose(tf.reshape(tokens, (shape[0], shape[1], num_heads, width)), (0, 2, 1, 3))


def merge_heads(tokens: tf.Tensor) -> tf.Tensor:
    """`(B, H, T, d)` to `(B, T, H*d)`."""
    shape = tf.shape(tokens)
    width = tokens.shape[1] * tokens.shape[3]
    return tf.reshape(tf.transpose(tokens, (0, 2, 1, 3)), (shape[0], shape[2], width))
