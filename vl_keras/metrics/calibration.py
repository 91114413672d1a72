"""Calibration of a classifier's confidence: temperature, calibration error, and a threshold for abstaining."""

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

TEMPERATURES = (0.05, 20.0)  # range of the search for a temperature
_ROWS = 1024  # items whose logits are held in float64 at a time


def fit_temperature(logits: ArrayLike, labels: ArrayLike) -> float:
    """Finds the temperature T that minimises the cross-entropy of softmax(logits / T) (Guo et al., 2017, 4.2).

    Each of N labels counts as right with probability (N + 1) / (N + 2), and the other classes share the rest (the
    targets of Platt, 1999). With plain labels, if every label has the largest logit, the best temperature would be
    zero, and the model would make every later mistake with full confidence.

    The loss is convex in 1 / T, so bisection finds where its slope changes sign. If it does not change sign within
    `TEMPERATURES`, the nearer end is returned, e.g. the upper end if the logits carry no information about the labels.

    Args:
        logits: `(N, C)` finite floats of held-out items, e.g. dev.
        labels: `(N,)` integers, the right classes.

    Returns:
        The temperature.

    Raises:
        ValueError: there is no item, shapes do not agree, or a logit is not finite.
    """
    logits, labels = np.asarray(logits), np.asarray(labels)
    if logits.ndim != 2 or not len(logits) or labels.shape != logits.shape[:1]:
        raise ValueError(f"`logits` must be (N, C) and `labels` (N,), N above 0; got {logits.shape}, {labels.shape}.")
    starts = range(0, len(logits), _ROWS)
    if not all(np.isfinite(logits[start : start + _ROWS]).all() for start in starts):
        raise ValueError("`logits` must be finite; some are not.")

    def chunks() -> Iterator[tuple[np.ndarray, np.ndarray]]:
        for start in starts:
            part = logits[start : start + _ROWS].astype(np.float64)
            yield part - part.max(axis=1, keepdims=True), labels[start : start + _ROWS]

    aim = 0.0
    for part, own in chunks():
        right = part[np.arange(len(own)), own]
        others = (part.sum(axis=1) - right) / max(part.shape[1] - 1, 1)
        aim += (((len(labels) + 1) * right + others) / (len(labels) + 2)).sum() / len(labels)

    def slope(inverse: float) -> float:
        """Derivative of the loss with respect to 1 / T: the expected logit minus that of the targets."""
        expected = 0.0
        for part, _ in chunks():
            weights = np.exp(inverse * part)
            expected += ((weights * part).sum(axis=1) / weights.sum(axis=1)).sum() / len(labels)
        return expected - aim

    low, high = 1 / TEMPERATURES[1], 1 / TEMPERATURES[0]
    if slope(low) >= 0:
        return TEMPERATURES[1]
    if slope(high) <= 0:
        return TEMPERATURES[0]
    for _ in range(60):
        middle = np.sqrt(low * high)
        low, high = (middle, high) if slope(middle) < 0 else (low, middle)
    return float(1 / np.sqrt(low * high))


def expected_calibration_error(confidence: ArrayLike, correct: ArrayLike, bins: int = 15) -> float:
    """Mean distance between confidence and accuracy over equal-width bins of confidence, weighted by their items.

    Naeini et al. (2015), as in Guo et al. (2017), equation 3; bin m holds confidences in ((m - 1) / bins, m / bins].

    Args:
        confidence: `(N,)` probabilities of the predicted answers, 0 to 1.
        correct: `(N,)` bool, or scores from 0 to 1.
        bins: number of bins.

    Returns:
        Float, 0 to 1.

    Raises:
        ValueError: there is no item, or shapes do not agree.
    """
    confidence, correct = _pair(confidence, correct)
    places = np.clip(np.ceil(confidence * bins).astype(int) - 1, 0, bins - 1)
    gaps = np.bincount(places, confidence - correct, minlength=bins)
    return float(np.abs(gaps).sum() / len(confidence))


def abstention_threshold(confidence: ArrayLike, correct: ArrayLike, target_accuracy: float) -> dict[str, Any]:
    """Finds the smallest confidence threshold at which the answered items reach the target accuracy.

    Items whose confidence is at least the threshold are answered. If no threshold reaches the target, the result is the
    smallest threshold with the best accuracy, and `reached` is False.

    Args:
        confidence: `(N,)` confidences of held-out items, e.g. dev.
        correct: `(N,)` bool, or scores from 0 to 1.
        target_accuracy: share, 0 to 1.

    Returns:
        Dict: `reached`; `threshold`, one of the confidences, or 0 if all items may be answered; `coverage`, the share
        of items answered; `accuracy` of the answered items.

    Raises:
        ValueError: there is no item, or shapes do not agree.
    """
    confidence, correct = _pair(confidence, correct)
    order = np.argsort(-confidence, kind="stable")
    ranked = confidence[order]
    ends = np.flatnonzero(np.append(ranked[1:] < ranked[:-1], True))  # equal confidences are answered together
    answered = ends + 1
    accuracy = np.cumsum(correct[order])[ends] / answered
    reached = accuracy >= target_accuracy - 1e-12
    good = reached if reached.any() else accuracy == accuracy.max()
    best = np.flatnonzero(good)[-1]
    return {
        "reached": bool(reached.any()),
        "threshold": float(ranked[ends[best]]) if answered[best] < len(ranked) else 0.0,
        "coverage": float(answered[best] / len(ranked)),
        "accuracy": float(accuracy[best]),
    }


def _pair(confidence: ArrayLike, correct: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    confidence, correct = np.asarray(confidence, np.float64), np.asarray(correct, np.float64)
    if confidence.ndim != 1 or not len(confidence) or confidence.shape != correct.shape:
        raise ValueError(
            f"`confidence` and `correct` must be (N,) with N above 0; got {confidence.shape} and {correct.shape}."
        )
    return confidence, correct
