"""Retrieval measures against brute force."""

import numpy as np
import pytest

from vl_keras.metrics import retrieval_scores as module
from vl_keras.metrics.retrieval_scores import (
    protocol_folds,
    reranked_ranks,
    retrieval_ranks,
    retrieval_scores,
    scores_of_ranks,
    top_candidates,
)

N, K, D = 23, 3, 5


def collection(seed=0, images=N):
    """Vectors of images and of texts that resemble their image, texts in any order."""
    rng = np.random.default_rng(seed)
    owner = rng.permutation(np.repeat(np.arange(images), K))
    image = rng.normal(size=(images, D))
    text = image[owner] + rng.normal(size=(images * K, D))
    return *(v / np.linalg.norm(v, axis=1, keepdims=True) for v in (image, text)), owner


def brute_force(image, text, owner):
    """Sorts every query's list and looks for the first right answer."""
    to_text = [
        1 + [owner[j] == i for j in sorted(range(len(text)), key=lambda j: -(image[i] @ text[j]))].index(True)
        for i in range(len(image))
    ]
    to_image = [
        1 + sorted(range(len(image)), key=lambda i: -(image[i] @ text[j])).index(owner[j]) for j in range(len(text))
    ]
    return np.array(to_text), np.array(to_image)


@pytest.mark.parametrize("rows", [1, 4, 1024])
def test_ranks_equal_brute_force(rows, monkeypatch):
    monkeypatch.setattr(module, "_ROWS", rows)  # chunks change nothing
    image, text, owner = collection()
    for ranks, expected in zip(retrieval_ranks(image, text, owner), brute_force(image, text, owner), strict=True):
        np.testing.assert_array_equal(ranks, expected)
    assert ranks.min() == 1 < ranks.max()


def test_scores_worked_by_hand():
    scores = scores_of_ranks([1, 2, 5, 6, 10, 11])
    assert scores["recall_at_1"] == pytest.approx(100 / 6)
    assert scores["recall_at_5"] == pytest.approx(50.0)
    assert scores["recall_at_10"] == pytest.approx(500 / 6)
    assert scores["median_rank"] == 5.5
    assert scores["mean_reciprocal_rank"] == pytest.approx((1 + 1 / 2 + 1 / 5 + 1 / 6 + 1 / 10 + 1 / 11) / 6)


def test_scores_of_all_images_are_those_of_the_ranks():
    image, text, owner = collection()
    scores = retrieval_scores(image, text, owner)
    assert (scores["images"], scores["texts"], scores["folds"]) == (N, N * K, 1)
    for direction, ranks in zip(("image_to_text", "text_to_image"), brute_force(image, text, owner), strict=True):
        assert scores[direction] == scores_of_ranks(ranks)


def test_the_protocol_is_the_mean_over_folds_that_search_among_themselves():
    image, text, owner = collection()
    size = 10
    expected = []
    for start in (0, size):  # the last 3 of 23 images fill no fold
        texts = [j for j in range(len(text)) if start <= owner[j] < start + size]
        expected.append(retrieval_scores(image[start : start + size], text[texts], owner[texts] - start))
    scores = retrieval_scores(image, text, owner, protocol_size=size)
    assert (scores["images"], scores["texts"], scores["folds"]) == (20, 20 * K, 2)
    for direction in ("image_to_text", "text_to_image"):
        for name, value in scores[direction].items():
            assert value == pytest.approx((expected[0][direction][name] + expected[1][direction][name]) / 2)
    assert scores["text_to_image"]["recall_at_1"] > retrieval_scores(image, text, owner)["text_to_image"]["recall_at_1"]
    assert retrieval_scores(image, text, owner, protocol_size=1000) == retrieval_scores(image, text, owner)


def test_folds_hold_each_image_once():
    _, _, owner = collection()
    folds = list(protocol_folds(owner, N, 5))
    assert np.concatenate([images for images, _, _ in folds]).tolist() == list(range(20))
    for images, texts, own in folds:
        np.testing.assert_array_equal(images[own], owner[texts])


def test_an_encoder_that_gives_all_the_same_vector_ranks_last():
    image = np.tile(np.random.default_rng(0).normal(size=D), (N, 1))
    text, owner = np.repeat(image, K, axis=0), np.repeat(np.arange(N), K)
    to_text, to_image = retrieval_ranks(image, text, owner)
    assert (to_text == 1 + (N - 1) * K).all() and (to_image == N).all()


def test_a_copy_of_the_right_answer_goes_before_it():
    image, text, owner = collection()
    before, _ = retrieval_ranks(image, text, owner)
    best = np.array([max(np.nonzero(owner == i)[0], key=lambda j, i=i: image[i] @ text[j]) for i in range(N)])
    copies = np.concatenate([text, text[best]])
    after, _ = retrieval_ranks(image, copies, np.concatenate([owner, np.roll(np.arange(N), 1)]))
    assert (after > before).all()


def test_float32_vectors_of_other_lengths():
    image, text, owner = collection()
    for scale in (1e-3, 1e3):
        ranks = retrieval_ranks((scale * image).astype(np.float32), text.astype(np.float32), owner)
        for got, expected in zip(ranks, brute_force(image, text, owner), strict=True):
            np.testing.assert_array_equal(got, expected)


def test_top_candidates_are_the_first_of_the_sorted_list():
    image, text, _ = collection()
    top = top_candidates(text, image, 7)
    for query, row in zip(text, top, strict=True):
        assert row.tolist() == sorted(range(N), key=lambda i, query=query: -(query @ image[i]))[:7]
    assert top_candidates(text, image, 1000).shape == (N * K, N)


@pytest.mark.parametrize("direction", ["image_to_text", "text_to_image"])
def test_reranking_equals_sorting_the_first_candidates_again(direction):
    image, text, owner = collection()
    rng = np.random.default_rng(3)
    to_text, to_image = retrieval_ranks(image, text, owner)
    if direction == "image_to_text":
        query, key, ranks, query_image, key_image = image, text, to_text, np.arange(N), owner
    else:
        query, key, ranks, query_image, key_image = text, image, to_image, owner, np.arange(N)
    candidates = top_candidates(query, key, 6)
    scores = rng.normal(size=candidates.shape)
    got = reranked_ranks(ranks, candidates, scores, query_image, key_image)
    for place in range(len(query)):
        first = sorted(range(6), key=lambda c, place=place: -scores[place, c])
        rest = [k for k in np.argsort(-(key @ query[place])) if k not in candidates[place]]
        order = [candidates[place, c] for c in first] + rest
        assert got[place] == 1 + [key_image[k] == query_image[place] for k in order].index(True)
    assert (got != ranks).any() and (ranks > 6).any()


def test_reranking_with_the_scores_of_the_first_stage_changes_nothing():
    image, text, owner = collection()
    _, ranks = retrieval_ranks(image, text, owner)
    candidates = top_candidates(text, image, 8)
    scores = np.take_along_axis(text @ image.T, candidates, axis=1)
    np.testing.assert_array_equal(reranked_ranks(ranks, candidates, scores, owner, np.arange(N)), ranks)


def test_reranking_with_equal_scores_counts_against_the_model():
    ranks = reranked_ranks([1, 9], [[0, 1, 2], [0, 1, 2]], np.zeros((2, 3)), [0, 5], np.arange(6))
    assert ranks.tolist() == [3, 9]


@pytest.mark.parametrize(
    "change, message",
    [
        (lambda image, text, owner: (image, text[:, :-1], owner), "got shapes"),
        (lambda image, text, owner: (image, text, owner + 1), "must be one of the 23 images; got 1 to 23"),
        (lambda image, text, owner: (image, text, np.minimum(owner, 20)), "image 21 and 1 more have none"),
        (lambda image, text, owner: (image * np.nan, text, owner), "finite vectors"),
    ],
)
def test_what_cannot_be_scored(change, message):
    with pytest.raises(ValueError, match=message):
        retrieval_scores(*change(*collection()))
    with pytest.raises(ValueError, match="at least one image"):
        list(protocol_folds([], 0))
