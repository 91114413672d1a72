import numpy as np
import pytest
import tensorflow as tf
import tf_keras as keras

from tests.layers.contract import normal, trained_like
from vl_keras.decoders import DECODERS
from vl_keras.decoders.ensemble_decoder import EnsembleDecoder

B, K, L, R, D, H, V = 2, 3, 5, 7, 8, 2, 11


def made(kind, name=None):
    """A decoder of `DECODERS`, or an ensemble of one of each."""
    if kind == "ensemble":
        return EnsembleDecoder([made(member) for member in sorted(DECODERS)])
    keras.utils.set_random_seed(1)  # what a rule is tried on must break it without the rule, whatever ran before
    decoder = DECODERS[kind](V, D, H, 2, 12, dropout=0.1, word_dropout=0.1, max_length=L + 1, name=name or kind)
    trained_like(decoder.model, seed=4)
    return decoder


@pytest.fixture(scope="module", params=sorted(DECODERS))
def decoder(request):
    return made(request.param)


def image_for(decoder):
    """Image tokens `(B, R, D)`, for each member of an ensemble, and mask `(B, R)`."""
    width = decoder.model.input_shape[1][-1]
    return normal(B, R, width, seed=11), tf.constant([[True] * R, [True, True, False, True, True, False, True]])


@pytest.fixture(scope="module")
def image(decoder):
    return image_for(decoder)


@pytest.fixture(scope="session")
def caption_ids():
    return tf.constant(np.random.default_rng(5).integers(1, V, (B, K, L)).astype("int32"))
