"""Exact search for the nearest vectors, by comparing the query with all of them."""

import numpy as np

_SCORES_AT_ONCE = 2**24  # 64 MB of float32


def exact_search(vectors: np.ndarray, queries: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Finds the `count` vectors with the largest inner product with each query.

    Args:
        vectors: `(N, D)` float32, in memory or memory-mapped.
        queries: `(Q, D)` float32.
        count: K, at most N.

    Returns:
        `(rows, scores)`: `(Q, K)` int64 and `(Q, K)` float32, best first; equal scores in the order of rows.
    """
    rows = np.empty((len(queries), count), np.int64)
    scores = np.empty((len(queries), count), np.float32)
    if count == 0:
        return rows, scores
    vectors = np.asarray(vectors)  # for a small index, views of a memory map take longer than the product
    at_once = max(1, _SCORES_AT_ONCE // len(vectors))
    for start in range(0, len(queries), at_once):
        products = queries[start : start + at_once] @ vectors.T
        for place, product in enumerate(products, start):
            best = np.argpartition(product, len(product) - count)[len(product) - count :]
            best = best[np.lexsort((best, -product[best]))]
            rows[place], scores[place] = best, product[best]
    return rows, scores
