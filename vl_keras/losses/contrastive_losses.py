"""The losses that a dual encoder can be trained with, by name."""

import math
from collections.abc import Callable

import tensorflow as tf

from vl_keras.losses.hardest_triplet import hardest_triplet
from vl_keras.losses.info_nce import info_nce
from vl_keras.losses.sigmoid_pairwise import sigmoid_pairwise

# All are called as `loss(image, text, owner, log_scale, bias, chunk_size=None)` and return a scalar.
CONTRASTIVE_LOSSES: dict[str, Callable[..., tf.Tensor]] = {
    "info_nce": info_nce,
    "sigmoid_pairwise": sigmoid_pairwise,
    "hardest_triplet": hardest_triplet,
}

# Initial (log_scale, bias) of each paper; None where the loss does not learn it.
INITIAL_SCALE_AND_BIAS: dict[str, tuple[float | None, float | None]] = {
    "info_nce": (math.log(1 / 0.07), None),
    "sigmoid_pairwise": (math.log(10.0), -10.0),
    "hardest_triplet": (None, None),
}
