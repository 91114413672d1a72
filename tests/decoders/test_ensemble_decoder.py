import numpy as np
import pytest
import tensorflow as tf

from tests.decoders.conftest import L, image_for, made
from vl_keras.decoders.ensemble_decoder import EnsembleDecoder
from vl_keras.decoders.generation import generate


def test_probabilities_are_the_geometric_mean_of_the_members_own(caption_ids):
    ensemble = made("ensemble")
    tokens, mask = image_for(ensemble)
    each = []
    for member, own in zip(ensemble.members, tf.split(tokens, 2, axis=-1), strict=True):
        logits = member.model([caption_ids, own, mask]).numpy().astype("float64")
        each.append(np.exp(logits) / np.exp(logits).sum(-1, keepdims=True))
    mean = np.sqrt(each[0] * each[1])
    got = tf.nn.softmax(ensemble.model([caption_ids, tokens, mask]))
    np.testing.assert_allclose(got, mean / mean.sum(-1, keepdims=True), atol=1e-6)
    assert np.abs(each[0] - each[1]).max() > 0.1


@pytest.mark.slow  # compiles with XLA, 15 seconds
def test_a_captioner_joined_with_its_equal_writes_what_it_wrote_under_xla_too():
    alone, equal = made("transformer"), made("transformer", name="equal")
    tokens, mask = image_for(alone)
    settings = {"beam_size": 4, "num_captions": 3, "max_length": L, "repetition_penalty": 1.5, "return_attention": True}
    wanted = generate(alone, tokens, mask, **settings)
    ensemble = EnsembleDecoder([alone, equal])
    write = tf.function(lambda *image: generate(ensemble, *image, **settings), jit_compile=True)
    got = write(tf.concat([tokens, tokens], -1), mask)
    np.testing.assert_array_equal(got.tokens, wanted.tokens)
    np.testing.assert_allclose(got.scores, wanted.scores, atol=1e-5)
    np.testing.assert_allclose(got.attention, wanted.attention, atol=1e-6)
