"""Percentile bootstrap intervals of scores, over images (Efron, 1979; for BLEU, Koehn, 2004)."""

import numpy as np

_AT_ONCE = 100  # resamples
_WEIGHTS_AT_ONCE = 8_000_000


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
    count = len(statistics)
    sums = np.concatenate([drawn @ statistics for drawn in _draws(count, resamples, level, seed, _AT_ONCE)])
    return _interval(sums / count if score is None else score(sums, count), level)


def bootstrap_intervals(image, score, resamples=1000, level=0.95, seed=0):
    """Intervals of scores of items that belong to images: questions, pairs, queries.

    A resample draws as many images as there are, with replacement, each with all its items.

    Args:
        image: `(M,)` the image of each item, by any number.
        score: function of `(n, M)` weights, how often each item was drawn, to a dict of name -> `(n,)` scores; NaN for
            a resample that has nothing to score, which then does not count.
        resamples, level, seed: as of `bootstrap_interval`.

    Returns:
        Dict of name -> `(low, high)` floats; NaN where no resample could be scored.

    Raises:
        ValueError: there is no item, or `level` or `resamples` is out of range.
    """
    images, place = np.unique(np.asarray(image), return_inverse=True)
    at_once = int(np.clip(_WEIGHTS_AT_ONCE // max(len(place), 1), 1, _AT_ONCE))
    parts = [score(drawn[:, place]) for drawn in _draws(len(images), resamples, level, seed, at_once)]
    return {name: _interval(np.concatenate([part[name] for part in parts]), level) for name in parts[0]}


def _draws(count, resamples, level, seed, at_once):
    """Yields `(n, count)` float64: how often each image was drawn; in parts, so that memory stays small."""
    if not count:
        raise ValueError("A bootstrap interval needs at least one image; got none.")
    if not 0 < level < 1:
        raise ValueError(f"`level` must lie between 0 and 1; got {level}.")
    if resamples < 1:
        raise ValueError(f"`resamples` must be at least 1; got {resamples}.")
    rng = np.random.default_rng(seed)
    for start in range(0, resamples, at_once):
        drawn = rng.multinomial(count, np.full(count, 1 / count), size=min(at_once, resamples - start))
        yield drawn.astype(np.float64)


def _interval(scores, level):
    scores = scores[~np.isnan(scores)]
    if not len(scores):
        return float("nan"), float("nan")
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
