"""The sigmoid loss: a binary classification of every image-text pair in the batch."""

import tensorflow as tf

from vl_keras.losses.reduce_similarity import reduce_similarity


def sigmoid_pairwise(
    image: tf.Tensor,
    text: tf.Tensor,
    owner: tf.Tensor,
    log_scale: tf.Tensor,
    bias: tf.Tensor,
    chunk_size: int | None = None,
) -> tf.Tensor:
    """Sigmoid loss of all pairs with learned scale and bias (Zhai et al., 2023, section 3.2; SigLIP).

    `-1/M * sum over i, j of log sigmoid(z_ij (e^log_scale * image_i · text_j + bias))`, z = 1 where text j belongs to
    image i, else -1. The sum is divided by the number of texts, so each text weighs its one positive against its B - 1
    negatives as in the paper, even if an image has several captions.

    Args:
        image: `(B, D)` float, L2-normalised by the model.
        text: `(M, D)` float, likewise.
        owner: `(M,)` int: for each text, the row of `image` that it belongs to.
        log_scale: scalar; initially log 10 in the paper.
        bias: scalar; initially -10 in the paper.
        chunk_size: see `reduce_similarity`; None holds the whole similarity matrix.

    Returns:
        Scalar float32, in nats.
    """
    scale = tf.exp(tf.cast(log_scale, tf.float32))
    _, of_text, _ = reduce_similarity(_losses, tf.reduce_sum, 0.0, image, text, owner, scale, bias, chunk_size)
    return tf.reduce_mean(of_text)


def _losses(logits: tf.Tensor, same: tf.Tensor) -> tf.Tensor:
    return tf.nn.softplus(tf.where(same, -logits, logits))
