"""The nearest vectors, found by looking at all of them."""

import numpy as np

_SCORES_AT_ONCE = 2**24  # 64 MB of float32


def exact_search(vectors, queries, count):
    """The `count` vectors of largest inner product with each query.

    Args:
        vectors: `(N, D)` float32, in memory or memory-mapped.
        queries: `(Q, D)` float32.
        count: K, at most N.

    Returns:
        `(rows, scores)`: `(Q, K)` int64 and `(Q, K)` float32, best first; equal scores by row.
    """
    rows = np.empty((len(queries), count), np.int64)
    scores = np.empty((len(queries), count), np.float32)
    if count == 0:
        return rows, scores
    vectors = np.asarray(vectors)  # a memory map's views cost more than the product of a small index
    at_once = max(1, _SCORES_AT_ONCE // len(vectors))
    for start in range(0, len(queries), at_once):
        products = queries[start : start + at_once] @ vectors.T
        for place, product in enumerate(products, start):
            best = np.argpartition(product, len(product) - count)[len(product) - count :]
            best = best[np.lexsort((best, -product[best]))]
            rows[place], scores[place] = best, product[best]
    return rows, scores
