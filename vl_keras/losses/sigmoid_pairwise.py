"""The sigmoid loss: is this text of this image, asked of every pair in the batch."""

import tensorflow as tf

from vl_keras.losses.reduce_similarity import reduce_similarity


def sigmoid_pairwise(image, text, owner, log_scale, bias, chunk_size=None):
    """Sigmoid loss of all pairs with learned scale and bias (Zhai et al., 2023, section 3.2; SigLIP).

    `-1/M * sum over i, j of log sigmoid(z_ij (e^log_scale * image_i · text_j + bias))`, z = 1 where text j belongs to
    image i, else -1. Divided by the number of texts, a batch with several captions an image weighs its one positive
    against its B - 1 negatives just as the paper's, with one caption each, does.

    Args:
        image: `(B, D)` float, L2-normalised by the model.
        text: `(M, D)` float, likewise.
        owner: `(M,)` int: the image, a row of `image`, that each text belongs to.
        log_scale: scalar; the paper begins with log 10.
        bias: scalar; the paper begins with -10.
        chunk_size: see `reduce_similarity`; None holds the whole similarity matrix.

    Returns:
        Scalar float32, in nats.
    """
    scale = tf.exp(tf.cast(log_scale, tf.float32))
    _, of_text, _ = reduce_similarity(_losses, tf.reduce_sum, 0.0, image, text, owner, scale, bias, chunk_size)
    return tf.reduce_mean(of_text)


def _losses(logits, same):
    return tf.nn.softplus(tf.where(same, -logits, logits))
