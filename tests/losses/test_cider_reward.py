import contextlib
import io

import numpy as np
import pytest
import tensorflow as tf
from pycocoevalcap.cider.cider_scorer import CiderScorer

from vl_keras.losses.cider_reward import CiderReward

IMAGES, K, N, L, V = 7, 3, 4, 9, 13


def captions(rng, *shape):
    ids = rng.integers(1, V, (*shape, L))
    lengths = rng.integers(1, L + 1, shape)
    return np.where(np.arange(L) < lengths[..., None], ids, 0)


def text(ids):
    return " ".join(str(i) for i in ids if i)


def reference_scores(samples, references):
    """pycocoevalcap's CIDEr-D of every sample, document frequencies over all images' references."""
    scores = np.zeros(samples.shape[:2])
    for n in range(samples.shape[1]):
        scorer = CiderScorer(n=4, sigma=6.0)
        for image in range(len(samples)):
            scorer += (text(samples[image, n]), [text(ids) for ids in references[image] if ids.any()])
        with contextlib.redirect_stdout(io.StringIO()):
            scores[:, n] = scorer.compute_score()[1]
    return scores


def test_equals_the_scorer():
    rng = np.random.default_rng(0)
    references, samples = captions(rng, IMAGES, K), captions(rng, IMAGES, N)
    samples[:, 0] = references[:, 1]
    samples[:, 1, :2], samples[:, 1, 2:] = references[:, 2, :2], 0
    samples[0, 2] = [5, 5, 5, 5, 5, 5, 0, 0, 0]
    references[3, 2] = 0
    reward = CiderReward([[ids[ids != 0] for ids in image if ids.any()] for image in references], V)
    expected = reference_scores(samples, references)
    assert expected.max() > 3
    np.testing.assert_allclose(reward(samples, references), expected, atol=1e-4)
    graph = tf.function(reward, input_signature=[tf.TensorSpec((None, None, None), tf.int32)] * 2)
    np.testing.assert_allclose(graph(samples.astype("int32"), references.astype("int32")), expected, atol=1e-4)


def test_padding_and_neighbours_change_nothing():
    rng = np.random.default_rng(1)
    references, samples = captions(rng, IMAGES, K), captions(rng, IMAGES, N)
    reward = CiderReward([[ids[ids != 0] for ids in image] for image in references], V)
    whole = reward(samples, references)
    np.testing.assert_array_equal(whole[:2], reward(samples[:2], references[:2]))
    wider = np.pad(samples, ((0, 0), (0, 0), (0, 3)))
    np.testing.assert_allclose(whole, reward(wider, references), atol=1e-5)


def test_a_reference_of_weight_two_is_there_twice():
    rng = np.random.default_rng(2)
    references, samples = captions(rng, IMAGES, K), captions(rng, IMAGES, N)
    reward = CiderReward([[ids[ids != 0] for ids in image] for image in references], V)
    weights = np.tile([1.0, 2.0, 0.0], (IMAGES, 1)).astype("float32")
    twice = references[:, [0, 1, 1]]
    assert np.abs(reward(samples, references) - reward(samples, twice)).max() > 0.1
    np.testing.assert_allclose(reward(samples, references, weights), reward(samples, twice), atol=1e-5)
    np.testing.assert_array_equal(reward(samples, references, 0 * weights), 0.0)


def test_a_vocabulary_too_large_is_refused():
    with pytest.raises(ValueError, match="32768"):
        CiderReward([[[1, 2]]], 40000)
