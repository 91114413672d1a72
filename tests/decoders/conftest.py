import numpy as np
import pytest
import tensorflow as tf
import tf_keras as keras

from tests.layers.contract import normal, trained_like
from vl_keras.decoders import DECODERS

B, K, L, R, D, H, V = 2, 3, 5, 7, 8, 2, 11


@pytest.fixture(scope="session", params=sorted(DECODERS))
def decoder(request):
    keras.utils.set_random_seed(1)  # what a rule is tried on must break it without the rule, whatever ran before
    made = DECODERS[request.param](V, D, H, 2, 12, dropout=0.1, word_dropout=0.1, max_length=L + 1)
    trained_like(made.model, seed=4)
    return made


@pytest.fixture(scope="session")
def picture():
    """Image tokens `(B, R, D)` and mask `(B, R)`."""
    return normal(B, R, D, seed=11), tf.constant([[True] * R, [True, True, False, True, True, False, True]])


@pytest.fixture(scope="session")
def caption_ids():
    return tf.constant(np.random.default_rng(5).integers(1, V, (B, K, L)).astype("int32"))
