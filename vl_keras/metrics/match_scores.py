"""Scores of image-text matching: how well a probability separates pairs that match from pairs that do not."""

import numpy as np
from numpy.typing import ArrayLike
from sklearn import metrics


def match_scores(probability: ArrayLike, match: ArrayLike, threshold: float = 0.5) -> dict[str, float]:
    """Scores of the decision "probability is at least `threshold`", and ROC-AUC, which needs no threshold.

    Args:
        probability: `(N,)` scores that a pair matches, larger for a better match.
        match: `(N,)` bool or 0 and 1, True = the pair matches; both must occur.
        threshold: e.g. the `best_threshold` of dev.

    Returns:
        Dict: `accuracy`; `balanced_accuracy`, the mean of the shares of matches and of non-matches that are predicted
        correctly; `precision`, `recall` and `f1` of the class "match" (precision is 0 if no pair is predicted to
        match); `roc_auc`.

    Raises:
        ValueError: shapes do not agree, or one of the two labels does not occur.
    """
    probability, match = _pair(probability, match)
    predicted = probability >= threshold
    precision, recall, f1, _ = metrics.precision_recall_fscore_support(
        match, predicted, average="binary", zero_division=0
    )
    scores = {
        "accuracy": metrics.accuracy_score(match, predicted),
        "balanced_accuracy": metrics.balanced_accuracy_score(match, predicted),
        "precision": precision,
        "recall": recall,
        "f1": f1,
        "roc_auc": metrics.roc_auc_score(match, probability),
    }
    return {name: float(score) for name, score in scores.items()}


def best_threshold(probability: ArrayLike, match: ArrayLike) -> float:
    """Finds the threshold with the best balanced accuracy on these pairs.

    The threshold is midway between the two neighbouring scores that it separates, so that a new pair near either score
    falls on the same side. Of equally good thresholds, the highest is returned. Arguments and errors are those of
    `match_scores`.
    """
    probability, match = _pair(probability, match)
    false_share, true_share, thresholds = metrics.roc_curve(match, probability, drop_intermediate=False)
    best = 1 + np.argmax((true_share - false_share)[1:])  # at the first threshold no pair is predicted to match
    if best + 1 == len(thresholds):
        return float(thresholds[best])
    return float((thresholds[best] + thresholds[best + 1]) / 2)


def _pair(probability: ArrayLike, match: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    # A threshold between two neighbouring float32 numbers needs more digits than float32 has.
    probability, match = np.asarray(probability, np.float64), np.asarray(match).astype(bool)
    if probability.ndim != 1 or probability.shape != match.shape:
        raise ValueError(f"`probability` and `match` must both be (N,); got {probability.shape} and {match.shape}.")
    if match.all() or not match.any():
        raise ValueError(
            f"Matching scores need pairs that match and pairs that do not; of {len(match)} pairs {match.sum()} match."
        )
    return probability, match
