"""How far a classifier's confidence can be trusted: temperature, calibration error, and when not to answer."""

import numpy as np

TEMPERATURES = (0.05, 20.0)  # where a temperature is looked for
_ROWS = 1024  # items whose logits are held in float64 at a time


def fit_temperature(logits, labels):
    """The temperature T for which softmax(logits / T) has the least cross-entropy (Guo et al., 2017, 4.2).

    Of N labels each counts as right with probability (N + 1) / (N + 2), and the rest is shared by the other classes
    (the targets of Platt, 1999): where every label has the largest logit, the likelihood alone would have no best
    temperature but zero, and every later mistake would be made with full confidence.

    In 1 / T the loss is convex, so the place where its slope changes sign is found by halving. Where there is none in
    `TEMPERATURES`, the nearer end is returned, e.g. the upper one where the logits say nothing about the labels.

    Args:
        logits: `(N, C)` finite floats of held-out items, e.g. dev.
        labels: `(N,)` integers, the right classes.

    Returns:
        Float.

    Raises:
        ValueError: there is no item, shapes do not agree, or a logit is not finite.
    """
    logits, labels = np.asarray(logits), np.asarray(labels)
    if logits.ndim != 2 or not len(logits) or labels.shape != logits.shape[:1]:
        raise ValueError(f"`logits` must be (N, C) and `labels` (N,), N above 0; got {logits.shape}, {labels.shape}.")
    starts = range(0, len(logits), _ROWS)
    if not all(np.isfinite(logits[start : start + _ROWS]).all() for start in starts):
        raise ValueError("`logits` must be finite; some are not.")

    def chunks():
        for start in starts:
            part = logits[start : start + _ROWS].astype(np.float64)
            yield part - part.max(axis=1, keepdims=True), labels[start : start + _ROWS]

    aim = 0.0
    for part, own in chunks():
        right = part[np.arange(len(own)), own]
        others = (part.sum(axis=1) - right) / max(part.shape[1] - 1, 1)
        aim += (((len(labels) + 1) * right + others) / (len(labels) + 2)).sum() / len(labels)

    def slope(inverse):
        """Derivative of the loss by 1 / T: the expected logit minus that of the targets."""
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


def expected_calibration_error(confidence, correct, bins=15):
    """Mean distance between confidence and accuracy over equal bins of confidence, weighted by their items.

    Naeini et al. (2015), as in Guo et al. (2017), equation 3; bin m holds confidences in ((m - 1) / bins, m / bins].

    Args:
        confidence: `(N,)` probabilities of the answers given, 0 to 1.
        correct: `(N,)` bool, or scores from 0 to 1.

    Returns:
        Float, 0 to 1.

    Raises:
        ValueError: there is no item, or shapes do not agree.
    """
    confidence, correct = _pair(confidence, correct)
    places = np.clip(np.ceil(confidence * bins).astype(int) - 1, 0, bins - 1)
    gaps = np.bincount(places, confidence - correct, minlength=bins)
    return float(np.abs(gaps).sum() / len(confidence))


def abstention_threshold(confidence, correct, target_accuracy):
    """The smallest confidence threshold at which the answered items reach the target accuracy.

    Items whose confidence is at least the threshold are answered. Where no threshold reaches the target, the one with
    the best accuracy is returned, the smallest such, and `reached` is False.

    Args:
        confidence: `(N,)` confidences of held-out items, e.g. dev.
        correct: `(N,)` bool, or scores from 0 to 1.
        target_accuracy: share, 0 to 1.

    Returns:
        Dict: `reached`; `threshold`, a confidence that occurs, or 0 where all items may be answered; `coverage`, the
        share of items answered at it; `accuracy` of these.

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


def _pair(confidence, correct):
    confidence, correct = np.asarray(confidence, np.float64), np.asarray(correct, np.float64)
    if confidence.ndim != 1 or not len(confidence) or confidence.shape != correct.shape:
        raise ValueError(
            f"`confidence` and `correct` must be (N,) with N above 0; got {confidence.shape} and {correct.shape}."
        )
    return confidence, correct
