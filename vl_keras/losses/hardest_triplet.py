"""The triplet loss with the hardest negative of the batch."""

import tensorflow as tf

from vl_keras.losses.reduce_similarity import negatives, reduce_similarity


def hardest_triplet(
    image: tf.Tensor,
    text: tf.Tensor,
    owner: tf.Tensor,
    log_scale: tf.Tensor | None = None,
    bias: tf.Tensor | None = None,
    chunk_size: int | None = None,
    margin: float = 0.2,
) -> tf.Tensor:
    """Hinge loss of the hardest negatives, in both directions (Faghri et al., 2018, equation 6; VSE++).

    The mean over all pairs of an image i and its text j of `[margin - s_ij + max s_ik]+ + [margin - s_ij + max s_kj]+`,
    where `s = image · text`, the first maximum is over the texts of other images, and the second over other images.

    Args:
        image: `(B, D)` float, L2-normalised by the model.
        text: `(M, D)` float, likewise.
        owner: `(M,)` int: for each text, the row of `image` that it belongs to.
        log_scale, bias: not used, because the margin sets the scale.
        chunk_size: see `reduce_similarity`; None holds the whole similarity matrix.
        margin: in units of the similarity.

    Returns:
        Scalar float32.
    """
    own, of_text, of_image = reduce_similarity(
        negatives, tf.reduce_max, tf.float32.min, image, text, owner, chunk_size=chunk_size
    )
    return tf.reduce_mean(tf.nn.relu(margin - own + tf.gather(of_image, owner)) + tf.nn.relu(margin - own + of_text))
