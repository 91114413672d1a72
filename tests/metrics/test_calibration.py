"""Temperature, calibration error and abstention: laws, and searches written plainly."""

import tracemalloc

import numpy as np
import pytest

from vl_keras.metrics.calibration import (
    TEMPERATURES,
    abstention_threshold,
    expected_calibration_error,
    fit_temperature,
)


def softmax(logits):
    weights = np.exp(logits - logits.max(axis=1, keepdims=True))
    return weights / weights.sum(axis=1, keepdims=True)


def loss(logits, labels, temperature):
    """Cross-entropy to Platt's targets, written out."""
    count, classes = logits.shape
    targets = np.full((count, classes), 1 / (count + 2) / (classes - 1))
    targets[np.arange(count), labels] = (count + 1) / (count + 2)
    return -(targets * np.log(softmax(logits / temperature))).sum(axis=1).mean()


def draw(rng, count, classes, spread):
    """Logits, and labels drawn from their own softmax, so that they are calibrated as they are."""
    logits = rng.normal(0, spread, (count, classes))
    labels = (softmax(logits).cumsum(axis=1) > rng.random((count, 1))).argmax(axis=1)
    return logits, labels


@pytest.mark.parametrize("scale", [0.2, 1.0, 7.0])
def test_the_temperature_undoes_a_scale_of_the_logits(scale):
    logits, labels = draw(np.random.default_rng(0), 20_000, 5, 2.0)
    assert fit_temperature(logits * scale, labels) == pytest.approx(scale, rel=0.05)


def test_no_other_temperature_has_less_loss():
    rng = np.random.default_rng(1)
    for classes in (2, 3, 13):
        logits, labels = draw(rng, 300, classes, 1.5)
        logits = logits.astype(np.float32) * 3 + rng.normal(0, 50, (300, 1)).astype(np.float32)  # a shift says nothing
        found = fit_temperature(logits, labels)
        best = loss(logits.astype(np.float64), labels, found)
        for other in found * np.array([0.5, 0.9, 0.99, 1.01, 1.1, 2.0]):
            assert best <= loss(logits.astype(np.float64), labels, other)


def test_many_logits_are_not_held_again():
    """Those of a large split fill the memory once."""
    logits, labels = draw(np.random.default_rng(3), 40_000, 100, 2.0)
    whole, logits = fit_temperature(logits, labels), logits.astype(np.float32)
    tracemalloc.start()
    found = fit_temperature(logits, labels)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < logits.nbytes and found == pytest.approx(whole, rel=1e-5)


def test_where_no_answer_is_wrong_confidence_grows_with_the_number_of_answers():
    logits = np.eye(3)[[0, 1, 2, 1]] * 4
    for times in (1, 10, 1000):
        labels = [0, 1, 2, 1] * times
        every = np.tile(logits, (times, 1))
        confidence = softmax(every / fit_temperature(every, labels)).max(axis=1)
        np.testing.assert_allclose(confidence, (4 * times + 1) / (4 * times + 2), rtol=1e-6)


def test_where_there_is_no_best_temperature_an_end_is_returned():
    logits = np.eye(3)[[0, 1, 2, 1]] * 4
    assert fit_temperature(logits * 1e-6, [0, 1, 2, 1]) == TEMPERATURES[0]
    assert fit_temperature(logits, [1, 2, 0, 0]) == TEMPERATURES[1]
    huge = fit_temperature(logits * 1e6, [0, 1, 2, 0])
    assert huge == TEMPERATURES[1]


def test_unusable_logits_are_refused():
    with pytest.raises(ValueError, match="finite"):
        fit_temperature([[0.0, np.nan]], [0])
    for logits, labels in ((np.zeros((0, 3)), []), (np.zeros((2, 3)), [0]), (np.zeros(3), [0, 1, 0])):
        with pytest.raises(ValueError, match="must be .N, C."):
            fit_temperature(logits, labels)


def test_the_calibration_error_by_hand():
    # Bins of a fifth: 0.2 belongs to the first, 0.21 to the second; 1.0 to the last, with 0.9.
    confidence = [0.1, 0.2, 0.21, 0.9, 1.0]
    correct = [True, False, True, True, False]
    error = (2 * abs(0.15 - 0.5) + abs(0.21 - 1) + 2 * abs(0.95 - 0.5)) / 5
    assert expected_calibration_error(confidence, correct, bins=5) == pytest.approx(error)
    assert expected_calibration_error([0.0], [False]) == 0
    assert expected_calibration_error([1.0, 1.0], [0.3, 0.9]) == pytest.approx(0.4)  # scores count as they are


def test_calibrated_confidences_have_little_error_and_overconfident_ones_much():
    logits, labels = draw(np.random.default_rng(2), 50_000, 4, 1.5)
    right = logits.argmax(axis=1) == labels
    calibrated = expected_calibration_error(softmax(logits).max(axis=1), right)
    overconfident = softmax(logits * 5)
    assert calibrated < 0.01 < 0.15 < expected_calibration_error(overconfident.max(axis=1), right)
    cooled = softmax(logits * 5 / fit_temperature(logits * 5, labels))
    assert expected_calibration_error(cooled.max(axis=1), right) < 0.01


def test_the_threshold_is_the_smallest_that_reaches_the_target():
    rng = np.random.default_rng(3)
    for target in (0.5, 0.7, 0.8, 0.95):
        confidence = rng.integers(0, 25, 200) / 25  # with many equal ones
        correct = (rng.random(200) < confidence) | (confidence > 0.9)
        result = abstention_threshold(confidence, correct, target)
        candidates = [0.0, *np.unique(confidence)]
        good = [t for t in candidates if correct[confidence >= t].mean() >= target]
        threshold = result["threshold"]
        assert result["reached"]
        assert threshold == (0.0 if good[0] <= confidence.min() else good[0])
        answered = confidence >= threshold
        assert (result["coverage"], result["accuracy"]) == (answered.mean(), pytest.approx(correct[answered].mean()))


def test_where_all_items_are_good_enough_all_are_answered():
    result = abstention_threshold([0.4, 0.9, 0.6], [True, True, False], 2 / 3)
    assert result == {"reached": True, "threshold": 0.0, "coverage": 1.0, "accuracy": pytest.approx(2 / 3)}


def test_a_target_out_of_reach_is_said_to_be_so():
    confidence, correct = [0.9, 0.8, 0.7, 0.6, 0.5], [False, True, True, False, False]
    result = abstention_threshold(confidence, correct, 0.9)
    assert result == {"reached": False, "threshold": 0.7, "coverage": 0.6, "accuracy": pytest.approx(2 / 3)}
    with pytest.raises(ValueError, match="must be .N,."):
        abstention_threshold([], [], 0.9)
    with pytest.raises(ValueError, match="must be .N,."):
        expected_calibration_error([0.5, 0.5], [True])
