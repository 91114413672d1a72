"""The triplet loss with the hardest negative of the batch."""

import tensorflow as tf

from vl_keras.losses.reduce_similarity import negatives, reduce_similarity


def hardest_triplet(image, text, owner, log_scale=None, bias=None, chunk_size=None, margin=0.2):
    """Hinge of the hardest negatives, both ways (Faghri et al., 2018, equation 6; VSE++).

    For every image i and text j of its own, `[margin - s_ij + max s_ik]+ + [margin - s_ij + max s_kj]+`, the first
    maximum over the texts of other images, the second over the other images; `s = image · text`. The mean over pairs.

    Args:
        image: `(B, D)` float, L2-normalised by the model.
        text: `(M, D)` float, likewise.
        owner: `(M,)` int: the image, a row of `image`, that each text belongs to.
        log_scale, bias: not used: the margin sets the scale.
        chunk_size: see `reduce_similarity`; None holds the whole similarity matrix.
        margin: in units of the similarity.

    Returns:
        Scalar float32.
    """
    own, of_text, of_image = reduce_similarity(
        negatives, tf.reduce_max, tf.float32.min, image, text, owner, chunk_size=chunk_size
    )
    return tf.reduce_mean(tf.nn.relu(margin - own + tf.gather(of_image, owner)) + tf.nn.relu(margin - own + of_text))
