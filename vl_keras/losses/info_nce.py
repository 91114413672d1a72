"""The contrastive loss of a batch's images and texts, in both directions."""

import tensorflow as tf

from vl_keras.losses.reduce_similarity import negatives, reduce_similarity


def info_nce(
    image: tf.Tensor,
    text: tf.Tensor,
    owner: tf.Tensor,
    log_scale: tf.Tensor,
    bias: tf.Tensor | None = None,
    chunk_size: int | None = None,
) -> tf.Tensor:
    """Symmetric InfoNCE with a learned temperature (Radford et al., 2021, section 2.3; van den Oord et al., 2018).

    The mean of the two losses of `info_nce_directions`, which describes the other arguments.

    Args:
        bias: not used: adding it to all similarities would not change the loss.

    Returns:
        Scalar float32, in nats.
    """
    image_to_text, text_to_image = info_nce_directions(image, text, owner, log_scale, chunk_size)
    return (image_to_text + text_to_image) / 2.0


def info_nce_directions(
    image: tf.Tensor, text: tf.Tensor, owner: tf.Tensor, log_scale: tf.Tensor, chunk_size: int | None = None
) -> tuple[tf.Tensor, tf.Tensor]:
    """The losses of finding a text for an image and an image for a text.

    Image to text, for every image i and text j of its own: `-log(e^s_ij / (e^s_ij + sum e^s_ik))`, k over the texts of
    all other images. The image's other texts are also correct, so they are left out. Text to image, for every text j of
    image i: `-log(e^s_ij / sum e^s_kj)`, k over all images. Here `s = e^log_scale * image · text`.

    Args:
        image: `(B, D)` float, L2-normalised by the model.
        text: `(M, D)` float, likewise.
        owner: `(M,)` int: for each text, the row of `image` that it belongs to.
        log_scale: scalar, the logarithm of one over the temperature. `SimilarityScale` limits it as Radford et al. do.
        chunk_size: see `reduce_similarity`; None holds the whole similarity matrix.

    Returns:
        Scalars `(image_to_text, text_to_image)`, each the mean over the M pairs.
    """
    scale = tf.exp(tf.cast(log_scale, tf.float32))
    own, of_text, of_image = reduce_similarity(
        negatives, tf.reduce_logsumexp, tf.float32.min, image, text, owner, scale, chunk_size=chunk_size
    )
    # -log(e^own / (e^own + e^others)) is softplus(others - own), which stays exact where the loss is small.
    image_to_text = tf.reduce_mean(tf.nn.softplus(tf.gather(of_image, owner) - own))
    return image_to_text, tf.reduce_mean(tf.nn.softplus(of_text - own))
