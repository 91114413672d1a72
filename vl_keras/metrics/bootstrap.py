"""Percentile bootstrap intervals of scores, over images (Efron, 1979; for BLEU, Koehn, 2004)."""

import numpy as np


def bootstrap_interval(statistics, score=None, resamples=1000, level=0.95, seed=0):
    """Interval that holds the score of `level` of the resampled test sets.

    A resample draws N images with replacement. Its statistics are the sums of its images', so all resamples are one
    matrix product, and a corpus-level score such as BLEU is computed anew for each.

    Args:
        statistics: `(N,)` per-image scores, or `(N, S)` per-image counts that `score` combines.
        score: function of `(resamples, S)` sums and N that returns `(resamples,)` scores; by default the mean over
            images, for statistics of shape `(N,)`.
        resamples: number of resampled test sets.
        level: share of them inside the interval.
        seed: of the resampling.

    Returns:
        `(low, high)` floats.

    Raises:
        ValueError: there is no image, or `level` or `resamples` is out of range.
    """
    statistics = np.asarray(statistics, np.float64)
    if not len(statistics):
        raise ValueError("A bootstrap interval needs at least one image; got none.")
    if not 0 < level < 1:
        raise ValueError(f"`level` must lie between 0 and 1; got {level}.")
    if resamples < 1:
        raise ValueError(f"`resamples` must be at least 1; got {resamples}.")
    count = len(statistics)
    rng = np.random.default_rng(seed)
    sums = np.concatenate(  # in parts, so that memory stays small for large test sets
        [
            rng.multinomial(count, np.full(count, 1 / count), size=min(100, resamples - start)) @ statistics
            for start in range(0, resamples, 100)
        ]
    )
    scores = sums / count if score is None else score(sums, count)
    low, high = np.quantile(scores, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def bleu_of_sums(sums, order):
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
    # pycocoevalcap's own guards against division by zero, so that both give the same digits.
    precision = np.prod((matched + 1e-15) / (total + 1e-9), axis=-1) ** (1 / order)
    ratio = (sums[..., 8] + 1e-15) / (sums[..., 9] + 1e-9)
    return 100 * precision * np.exp(np.minimum(0, 1 - 1 / ratio))
