"""The losses that a dual encoder can be trained with, by name."""

import math

from vl_keras.losses.hardest_triplet import hardest_triplet
from vl_keras.losses.info_nce import info_nce
from vl_keras.losses.sigmoid_pairwise import sigmoid_pairwise

# All are called as `loss(image, text, owner, log_scale, bias, chunk_size=None)` and return a scalar.
CONTRASTIVE_LOSSES = {
    "info_nce": info_nce,
    "sigmoid_pairwise": sigmoid_pairwise,
    "hardest_triplet": hardest_triplet,
}

# What each paper's training begins with: (log_scale, bias), None where the loss has no such thing to learn.
INITIAL_SCALE_AND_BIAS = {
    "info_nce": (math.log(1 / 0.07), None),
    "sigmoid_pairwise": (math.log(10.0), -10.0),
    "hardest_triplet": (None, None),
}

# "Clipped to prevent scaling the logits by more than 100" (Radford et al., 2021, section 2.5): for the variable.
MAX_LOG_SCALE = math.log(100.0)
