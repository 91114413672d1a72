"""What lies near to everything is moved away from everything."""

import numpy as np

from vl_keras.retrieval.querybank import Querybank


def _unit(count, seed):
    vectors = np.random.default_rng(seed).normal(size=(count, 6)).astype("float32")
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def test_the_score_is_that_of_the_formula():
    images, texts, bank_images, bank_texts = _unit(1500, 0), _unit(7, 1), _unit(40, 2), _unit(30, 3)
    bank = Querybank(bank_images, bank_texts, 27.0)
    scores = bank.of_images(images) @ bank.of_texts(texts).T
    for i in (0, 700, 1024, 1499):
        for j in range(7):
            v, t = images[i].astype(float), texts[j].astype(float)
            near_v = np.log(np.mean([np.exp(27 * v @ b) for b in bank_texts.astype(float)]))
            near_t = np.log(np.mean([np.exp(27 * b @ t) for b in bank_images.astype(float)]))
            np.testing.assert_allclose(scores[i, j], v @ t - (near_v + near_t) / 2 / 27, atol=1e-5)


def test_an_image_that_every_text_finds_gives_way():
    """A hub: a little nearer to the second's text than its own image, and as near to all other texts."""
    bank_texts = np.eye(3, dtype="float32")
    hub = np.full((1, 3), 3**-0.5, "float32")
    own = np.array([[0.1, 0.57, -0.8155]], "float32")
    text = np.array([[0.0, 1.0, 0.0]], "float32")
    images = np.concatenate([hub, own])
    assert (images @ text.T).argmax() == 0
    bank = Querybank(images, bank_texts, 20.0)
    assert (bank.of_images(images) @ bank.of_texts(text).T).argmax() == 1


def test_without_images_texts_keep_what_they_have():
    images, texts, bank_texts = _unit(5, 0), _unit(7, 1), _unit(30, 3)
    whole, half = Querybank(_unit(40, 2), bank_texts, 27.0), Querybank(None, bank_texts, 27.0)
    ours, theirs = (bank.of_images(images) @ bank.of_texts(texts).T for bank in (half, whole))
    # A text's own part is the same for all images, an image's for all texts.
    np.testing.assert_allclose(ours - ours[:1], theirs - theirs[:1], atol=1e-5)
    cosine = images @ texts.T
    np.testing.assert_allclose(ours - ours[:, :1], cosine - cosine[:, :1], atol=1e-5)


def test_large_scales_stay_numbers():
    bank = Querybank(_unit(5, 0), _unit(5, 1), 1e4)
    for vectors in (bank.of_images(_unit(3, 2)), bank.of_texts(_unit(3, 3))):
        assert np.isfinite(vectors).all() and (np.abs(vectors[:, -2:]) <= 1).all()
