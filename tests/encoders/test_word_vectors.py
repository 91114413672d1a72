"""Laws of the vectors that words start from."""

import numpy as np

from vl_keras.encoders.word_vectors import word_vectors

WORDS = ["man", "dog", "red", "shirt", "runs", "tri-colored", "cafe"]


def distances(vectors):
    return np.linalg.norm(vectors[:, None] - vectors[None], axis=-1)


def test_they_lie_as_the_encoder_has_them(small_text_encoder):
    vectors, known = word_vectors(WORDS, small_text_encoder, 256)
    assert known.all() and vectors.shape == (7, 7) and vectors.dtype == np.float32
    inputs = small_text_encoder.preprocess(WORDS)
    states = small_text_encoder.model(inputs)["text_tokens"].numpy().astype("float64")
    own = [row[: mask.sum()].mean(axis=0) for row, mask in zip(states, inputs["input_mask"].numpy(), strict=True)]
    own /= np.linalg.norm(own, axis=1, keepdims=True)
    ratio = distances(vectors)[np.triu_indices(7, 1)] / distances(own)[np.triu_indices(7, 1)]
    np.testing.assert_allclose(ratio, ratio[0], rtol=1e-4)
    np.testing.assert_allclose((vectors**2).sum(axis=1).mean(), 1.0, rtol=1e-5)
    np.testing.assert_allclose(vectors.mean(axis=0), 0.0, atol=1e-5)


def test_fewer_dimensions_keep_what_tells_words_apart_best(small_text_encoder):
    whole, _ = word_vectors(WORDS, small_text_encoder, 12)
    three, _ = word_vectors(WORDS, small_text_encoder, 3)
    assert three.shape == (7, 3)
    spread = np.linalg.svd(whole, compute_uv=False)
    expected = spread[:3] / np.linalg.norm(spread[:3])
    np.testing.assert_allclose(np.linalg.svd(three, compute_uv=False) / np.sqrt(7), expected, rtol=1e-4)


def test_words_it_does_not_know_are_told_and_change_nothing(small_text_encoder):
    alone, _ = word_vectors(WORDS, small_text_encoder, 12)
    among, known = word_vectors(["zebra", *WORDS, "dog犬"], small_text_encoder, 12)
    np.testing.assert_array_equal(known, [False] + [True] * 7 + [False])
    assert (among[~known] == 0).all()
    np.testing.assert_allclose(distances(among[known]), distances(alone), atol=1e-4)
    nothing, known = word_vectors(["zebra", "yak"], small_text_encoder, 12)
    assert not known.any() and (nothing == 0).all()
