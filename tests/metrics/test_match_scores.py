"""Matching scores against their definitions, counted plainly."""

import numpy as np
import pytest

from vl_keras.metrics.match_scores import best_threshold, match_scores


def counted(probability, match, threshold):
    hits = sum(p >= threshold and m for p, m in zip(probability, match, strict=True))
    false = sum(p >= threshold and not m for p, m in zip(probability, match, strict=True))
    matches = sum(match)
    others = len(match) - matches
    precision, recall = hits / (hits + false) if hits + false else 0.0, hits / matches
    pairs = [
        (p, q)
        for p, m in zip(probability, match, strict=True)
        if m
        for q, n in zip(probability, match, strict=True)
        if not n
    ]
    return {
        "accuracy": (hits + others - false) / len(match),
        "balanced_accuracy": (recall + (others - false) / others) / 2,
        "precision": precision,
        "recall": recall,
        "f1": 2 * precision * recall / (precision + recall) if precision + recall else 0.0,
        "roc_auc": sum((p > q) + 0.5 * (p == q) for p, q in pairs) / len(pairs),
    }


def draw(seed, count=60):
    """More non-matches than matches, with equal scores."""
    rng = np.random.default_rng(seed)
    match = rng.random(count) < 0.3
    return np.clip(np.round(rng.normal(0.4 + 0.2 * match, 0.2), 2), 0, 1), match


@pytest.mark.parametrize("threshold", [0.0, 0.37, 0.5, 0.8, 1.1])
def test_scores_are_the_counted_ones(threshold):
    probability, match = draw(0)
    scores = match_scores(probability, match, threshold)
    assert scores == pytest.approx(counted(probability, match, threshold))
    assert all(type(value) is float for value in scores.values())


def test_labels_may_be_numbers_and_half_is_the_default():
    probability, match = draw(1)
    assert match_scores(list(probability), match.astype(int).tolist()) == match_scores(probability, match, 0.5)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_no_threshold_is_better_than_the_best(dtype):
    for seed in range(20):
        probability, match = draw(seed)
        probability = probability.astype(dtype)
        best = match_scores(probability, match, best_threshold(probability, match))["balanced_accuracy"]
        for threshold in (*np.unique(probability), 2.0):
            said = probability >= threshold
            assert (said[match].mean() + 1 - said[~match].mean()) / 2 <= best + 1e-12


def test_the_best_threshold_lies_midway_between_what_it_parts():
    assert best_threshold([0.1, 0.2, 0.6, 0.9], [0, 0, 1, 1]) == pytest.approx(0.4)
    assert best_threshold([0.9, 0.1], [0, 1]) == 0.1  # upside down: nothing is better than to call all matches
    near = np.array([0.5, np.nextafter(np.float32(0.5), np.float32(1))], np.float32)
    assert match_scores(near, [0, 1], best_threshold(near, [0, 1]))["accuracy"] == 1


def test_one_label_alone_or_unequal_lengths_are_refused():
    for match, count in (([1, 1], "2 match"), ([0, 0], "0 match")):
        with pytest.raises(ValueError, match=f"pairs that do not; of 2 pairs {count}"):
            match_scores([0.2, 0.3], match)
        with pytest.raises(ValueError, match=count):
            best_threshold([0.2, 0.3], match)
    with pytest.raises(ValueError, match="must both be"):
        match_scores([0.2, 0.3, 0.4], [0, 1])
