"""Scores of resampled items, for `bootstrap_intervals`: each item's weight is the number of times it was drawn.

With all weights 1 they equal the scores of `match_scores`, `expected_calibration_error` and `scores_of_ranks`.
"""

import numpy as np
from numpy.typing import ArrayLike


def weighted_mean(values: ArrayLike, weights: np.ndarray) -> np.ndarray:
    """`(n,)` means of `(M,)` values under `(n, M)` weights; NaN where all weights are 0."""
    return _share(weights @ np.asarray(values, np.float64), weights.sum(axis=1))


def weighted_match_scores(
    probability: ArrayLike, match: ArrayLike, weights: np.ndarray, threshold: float = 0.5
) -> dict[str, np.ndarray]:
    """`match_scores` of items with weights.

    Args:
        probability: `(M,)`.
        match: `(M,)` bool.
        weights: `(n, M)`.
        threshold: see `match_scores`.

    Returns:
        Dict of name -> `(n,)` scores; NaN where a score would divide by zero.
    """
    probability, match = np.asarray(probability, np.float64), np.asarray(match).astype(bool)
    predicted = probability >= threshold
    hits, false_alarms = weights @ (predicted & match), weights @ (predicted & ~match)
    matches, others = weights @ match.astype(np.float64), weights @ (~match).astype(np.float64)
    recall, specificity = _share(hits, matches), _share(others - false_alarms, others)
    positives = hits + false_alarms
    return {
        "accuracy": _share(hits + others - false_alarms, matches + others),
        "balanced_accuracy": (recall + specificity) / 2,
        "precision": np.where(positives > 0, _share(hits, positives), 0.0),
        "recall": recall,
        "f1": _share(2 * hits, matches + positives),
        "roc_auc": _roc_auc(probability, match, weights, matches, others),
    }


def weighted_calibration_error(
    confidence: ArrayLike, correct: ArrayLike, weights: np.ndarray, bins: int = 15
) -> np.ndarray:
    """`expected_calibration_error` under `(n, M)` weights: `(n,)`."""
    confidence, correct = np.asarray(confidence, np.float64), np.asarray(correct, np.float64)
    places = np.clip(np.ceil(confidence * bins).astype(int) - 1, 0, bins - 1)
    gaps = np.zeros((len(confidence), bins))
    gaps[np.arange(len(confidence)), places] = confidence - correct
    return _share(np.abs(weights @ gaps).sum(axis=1), weights.sum(axis=1))


def weighted_rank_scores(ranks: ArrayLike, weights: np.ndarray) -> dict[str, np.ndarray]:
    """`scores_of_ranks` under `(n, M)` weights: dict of name -> `(n,)`."""
    ranks = np.asarray(ranks)
    order = np.argsort(ranks, kind="stable")
    drawn = np.cumsum(weights[:, order], axis=1)
    half = drawn[:, -1:] / 2
    # The median of an even number of ranks is between the two in the middle.
    middle = [np.argmax(condition, axis=1) for condition in (drawn >= half, drawn > half)]
    return {
        **{f"recall_at_{k}": 100.0 * weighted_mean(ranks <= k, weights) for k in (1, 5, 10)},
        "median_rank": np.where(half[:, 0] > 0, (ranks[order][middle[0]] + ranks[order][middle[1]]) / 2, np.nan),
        "mean_reciprocal_rank": weighted_mean(1.0 / ranks, weights),
    }


def _roc_auc(
    probability: np.ndarray, match: np.ndarray, weights: np.ndarray, matches: np.ndarray, others: np.ndarray
) -> np.ndarray:
    """Share of (match, other) pairs in which the match has the higher probability; a tie counts half."""
    order = np.argsort(probability, kind="stable")
    ranked = probability[order]
    starts = np.flatnonzero(np.append(True, ranked[1:] > ranked[:-1]))
    weights, match = weights[:, order], match[order]
    of_match = np.add.reduceat(weights * match, starts, axis=1)
    of_other = np.add.reduceat(weights * ~match, starts, axis=1)
    below = np.cumsum(of_other, axis=1) - of_other / 2
    return _share((of_match * below).sum(axis=1), matches * others)


def _share(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    return np.divide(part, whole, out=np.full(np.shape(whole), np.nan), where=whole > 0)
