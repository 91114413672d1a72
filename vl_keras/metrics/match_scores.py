"""Scores of image-text matching: how well a probability tells pairs that match from those that do not."""

import numpy as np
from sklearn import metrics


def match_scores(probability, match, threshold=0.5):
    """Scores of the decision "probability is at least `threshold`", and ROC-AUC, which needs none.

    Args:
        probability: `(N,)` scores that a pair matches, larger for a better match.
        match: `(N,)` bool or 0 and 1, True = the pair matches; both must occur.
        threshold: float, e.g. `best_threshold` of dev.

    Returns:
        Dict of floats: `accuracy`; `balanced_accuracy`, the mean of the shares of matches and of non-matches that are
        told right; `precision`, `recall` and `f1` of "matches" (precision is 0 where nothing is said to match);
        `roc_auc`.

    Raises:
        ValueError: shapes do not agree, or one of the two labels does not occur.
    """
    probability, match = _pair(probability, match)
    said = probability >= threshold
    precision, recall, f1, _ = metrics.precision_recall_fscore_support(match, said, average="binary", zero_division=0)
    scores = {
        "accuracy": metrics.accuracy_score(match, said),
        "balanced_accuracy": metrics.balanced_accuracy_score(match, said),
        "precision": precision,
        "recall": recall,
        "f1": f1,
        "roc_auc": metrics.roc_auc_score(match, probability),
    }
    return {name: float(score) for name, score in scores.items()}


def best_threshold(probability, match):
    """The threshold with the best balanced accuracy on these pairs; arguments and errors as of `match_scores`.

    It lies midway between the two scores that it parts, so that a new pair near either falls on its side. Of equally
    good ones it is the highest.
    """
    probability, match = _pair(probability, match)
    false_share, true_share, thresholds = metrics.roc_curve(match, probability, drop_intermediate=False)
    best = 1 + np.argmax((true_share - false_share)[1:])  # the first says that nothing matches
    if best + 1 == len(thresholds):
        return float(thresholds[best])
    return float((thresholds[best] + thresholds[best + 1]) / 2)


def _pair(probability, match):
    # Thresholds between two float32 neighbours need more digits than float32 has.
    probability, match = np.asarray(probability, np.float64), np.asarray(match).astype(bool)
    if probability.ndim != 1 or probability.shape != match.shape:
        raise ValueError(f"`probability` and `match` must both be (N,); got {probability.shape} and {match.shape}.")
    if match.all() or not match.any():
        raise ValueError(
            f"Matching scores need pairs that match and pairs that do not; of {len(match)} pairs {match.sum()} match."
        )
    return probability, match
