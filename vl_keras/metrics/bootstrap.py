"""Percentile bootstrap intervals of scores, over images (Efron, 1979; for BLEU, Koehn, 2004)."""

from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import ArrayLike

_AT_ONCE = 100  # resamples
_WEIGHTS_AT_ONCE = 8_000_000


def bootstrap_interval(
    statistics: ArrayLike,
    score: Callable[[np.ndarray, int], np.ndarray] | None = None,
    resamples: int = 1000,
    level: float = 0.95,
    seed: int = 0,
) -> tuple[float, float]:
    """Interval that contains the scores of a share `level` of the resampled test sets.

    A resample draws N images with replacement. Its statistics are the sums of the statistics of its images, so one
    matrix product computes all resamples, and a corpus-level score such as BLEU is computed anew for each.

    Args:
        statistics: `(N,)` per-image scores, or `(N, S)` per-image counts that `score` combines.
        score: function of `(resamples, S)` sums and N that returns `(resamples,)` scores; by default the mean over
            images, for statistics of shape `(N,)`.
        resamples: number of resampled test sets.
        level: share of the resampled test sets inside the interval.
        seed: seed of the resampling.

    Returns:
        `(low, high)` floats.

    Raises:
        ValueError: there is no image, or `level` or `resamples` is out of range.
    """
    statistics = np.asarray(statistics, np.float64)
    count = len(statistics)
    sums = np.concatenate([drawn @ statistics for drawn in _draws(count, resamples, level, seed, _AT_ONCE)])
    return _interval(sums / count if score is None else score(sums, count), level)


def bootstrap_intervals(
    image: ArrayLike,
    score: Callable[[np.ndarray], dict[str, np.ndarray]],
    resamples: int = 1000,
    level: float = 0.95,
    seed: int = 0,
) -> dict[str, tuple[float, float]]:
    """Intervals of scores of items that belong to images: questions, pairs, queries.

    A resample draws as many images as there are, with replacement, each with all its items.

    Args:
        image: `(M,)` a number for each item that identifies its image.
        score: function of `(n, M)` weights, which count how often each item was drawn, to a dict of name -> `(n,)`
            scores. NaN marks a resample that has nothing to score; it is left out.
        resamples, level, seed: see `bootstrap_interval`.

    Returns:
        Dict of name -> `(low, high)` floats; NaN where no resample could be scored.

    Raises:
        ValueError: there is no item, or `level` or `resamples` is out of range.
    """
    images, place = np.unique(np.asarray(image), return_inverse=True)
    at_once = int(np.clip(_WEIGHTS_AT_ONCE // max(len(place), 1), 1, _AT_ONCE))
    parts = [score(drawn[:, place]) for drawn in _draws(len(images), resamples, level, seed, at_once)]
    return {name: _interval(np.concatenate([part[name] for part in parts]), level) for name in parts[0]}


def _draws(count: int, resamples: int, level: float, seed: int, at_once: int) -> Iterator[np.ndarray]:
    """Yields `(n, count)` float64: how often each image was drawn; in parts, so that memory stays small."""
    if not count:
        raise ValueError("A bootstrap interval needs at least one image; got none.")
    if not 0 < level < 1:
        raise ValueError(f"`level` must be between 0 and 1; got {level}.")
    if resamples < 1:
        raise ValueError(f"`resamples` must be at least 1; got {resamples}.")
    rng = np.random.default_rng(seed)
    for start in range(0, resamples, at_once):
        drawn = rng.multinomial(count, np.full(count, 1 / count), size=min(at_once, resamples - start))
        yield drawn.astype(np.float64)


def _interval(scores: np.ndarray, level: float) -> tuple[float, float]:
    scores = scores[~np.isnan(scores)]
    if not len(scores):
        return float("nan"), float("nan")
    low, high = np.quantile(scores, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def bleu_of_sums(sums: ArrayLike, order: int) -> np.ndarray:
    """Corpus BLEU (Papineni et al., 2002, section 2.3) from summed statistics.

    Args:
        sums: `(..., 10)`: matched n-grams of orders 1 to 4, candidate n-grams of orders 1 to 4, candidate length,
            length of the closest reference.
        order: BLEU-`order`, 1 to 4.

    Returns:
        `(...)` BLEU between 0 and 100.
    """
    sums = np.asarray(sums, np.float64)
    matched, total = sums[..., :order], sums[..., 4 : 4 + order]
    # The same guards against division by zero as in pycocoevalcap, so that the scores agree to the last digit.
    precision = np.prod((matched + 1e-15) / (total + 1e-9), axis=-1) ** (1 / order)
    ratio = (sums[..., 8] + 1e-15) / (sums[..., 9] + 1e-9)
    return 100 * precision * np.exp(np.minimum(0, 1 - 1 / ratio))
