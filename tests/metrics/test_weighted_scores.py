"""Scores of resampled items: with weights as with repeats of the items themselves."""

import time

import numpy as np
import pytest

from vl_keras.metrics.bootstrap import bootstrap_interval, bootstrap_intervals
from vl_keras.metrics.calibration import expected_calibration_error
from vl_keras.metrics.match_scores import match_scores
from vl_keras.metrics.retrieval_scores import scores_of_ranks
from vl_keras.metrics.weighted_scores import (
    weighted_calibration_error,
    weighted_match_scores,
    weighted_mean,
    weighted_rank_scores,
)

M, N = 67, 5


@pytest.fixture(scope="module")
def items():
    """Probabilities with many ties, labels, ranks, and weights whose first row is all ones."""
    rng = np.random.default_rng(0)
    weights = rng.integers(0, 4, (N, M)).astype(np.float64)
    weights[0] = 1
    probability = rng.integers(0, 12, M) / 11
    return probability, rng.random(M) < 0.3 + 0.4 * probability, rng.integers(1, 30, M), weights


def _repeated(weights, *columns):
    return (np.repeat(column, weights.astype(int)) for column in columns)


def test_match_scores(items):
    probability, match, _, weights = items
    ours = weighted_match_scores(probability, match, weights, 0.4)
    for row in range(N):
        theirs = match_scores(*_repeated(weights[row], probability, match), threshold=0.4)
        assert {name: scores[row] for name, scores in ours.items()} == pytest.approx(theirs)


def test_calibration_error(items):
    probability, match, _, weights = items
    ours = weighted_calibration_error(probability, match, weights)
    theirs = [expected_calibration_error(*_repeated(row, probability, match)) for row in weights]
    np.testing.assert_allclose(ours, theirs)


def test_rank_scores(items):
    _, _, ranks, weights = items
    ours = weighted_rank_scores(ranks, weights)
    for row in range(N):
        (repeated,) = _repeated(weights[row], ranks)
        assert {name: scores[row] for name, scores in ours.items()} == pytest.approx(scores_of_ranks(repeated))


def test_the_median_of_an_even_number_lies_between_two():
    scores = weighted_rank_scores(np.array([9, 1, 4]), np.array([[1.0, 1, 0], [1, 2, 1], [0, 2, 2], [0, 0, 0]]))
    np.testing.assert_allclose(scores["median_rank"], [5, 2.5, 2.5, np.nan])


def test_nothing_drawn_is_no_number():
    weights = np.array([[0.0, 0.0, 0.0], [1.0, 0.0, 0.0]])
    np.testing.assert_array_equal(weighted_mean([1, 2, 3], weights), [np.nan, 1])
    scores = weighted_match_scores([0.9, 0.2, 0.1], [True, False, False], weights)
    assert np.isnan(scores["roc_auc"]).all() and np.isnan(scores["balanced_accuracy"]).all()
    assert scores["recall"][1] == 1 and scores["precision"][0] == 0


def test_items_of_one_image_are_drawn_together():
    """With one item an image the intervals are those of the images; items that agree within images add nothing."""
    values = np.random.default_rng(1).random(80)
    alone = bootstrap_interval(values)
    ours = bootstrap_intervals(np.arange(80), lambda weights: {"mean": weighted_mean(values, weights)})
    assert ours["mean"] == pytest.approx(alone)
    tenfold = np.repeat(values, 10)
    ours = bootstrap_intervals(np.repeat(np.arange(80), 10), lambda weights: {"mean": weighted_mean(tenfold, weights)})
    assert ours["mean"] == pytest.approx(alone)


def test_resamples_without_a_score_do_not_count():
    values = np.array([np.nan, 0.25, 0.75])
    ours = bootstrap_intervals([0, 1, 1], lambda weights: {"mean": weighted_mean(values[1:], weights[:, 1:])})
    assert ours["mean"] == pytest.approx((0.5, 0.5))
    ours = bootstrap_intervals([7, 8], lambda weights: {"none": np.full(len(weights), np.nan)})
    assert np.isnan(ours["none"]).all()
    with pytest.raises(ValueError, match="at least one image"):
        bootstrap_intervals([], lambda weights: {})


def test_ten_thousand_pairs_take_seconds():
    rng = np.random.default_rng(2)
    probability, match = rng.random(10_000), rng.random(10_000) < 0.5
    started = time.process_time()
    bootstrap_intervals(np.arange(10_000) // 10, lambda weights: weighted_match_scores(probability, match, weights))
    assert time.process_time() - started < 15
