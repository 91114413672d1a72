"""Approximate search for the nearest vectors with a graph: faiss's HNSW (Malkov and Yashunin, 2018).

With the settings below, recall@10 is above 0.98 on the 100,000 vectors of `benchmarks/search.py`.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import faiss

_LINKS = 32  # M: neighbours a vector keeps on each layer above the lowest, which keeps twice as many
_CONSTRUCTION_BREADTH = 160  # efConstruction
_SEARCH_BREADTH = 160  # efSearch: candidates kept during a search
_ADDED_AT_ONCE = 2000


def is_installed() -> bool:
    """Whether faiss is installed."""
    return _faiss() is not None


def extend_graph(
    graph: faiss.IndexHNSWFlat | None, vectors: np.ndarray, on_progress: Callable[[int], None] | None = None
) -> faiss.IndexHNSWFlat:
    """Adds vectors to a graph.

    Args:
        graph: faiss index that holds the first of `vectors`; None for a new one.
        vectors: `(N, D)` float32, of length 1 or a little more, N at least 1.
        on_progress: called now and then with the number of vectors in the graph.

    Returns:
        The graph of all N vectors.
    """
    faiss = _faiss()
    if graph is None:
        graph = faiss.IndexHNSWFlat(vectors.shape[1], _LINKS, faiss.METRIC_INNER_PRODUCT)
    graph.hnsw.efConstruction = _CONSTRUCTION_BREADTH
    for start in range(graph.ntotal, len(vectors), _ADDED_AT_ONCE):
        graph.add(np.ascontiguousarray(vectors[start : start + _ADDED_AT_ONCE]))
        if on_progress is not None:
            on_progress(graph.ntotal)
    return graph


def search_graph(graph: faiss.IndexHNSWFlat, queries: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Searches the graph.

    Args:
        graph: result of `extend_graph`.
        queries: `(Q, D)` float32.
        count: K.

    Returns:
        `(rows, scores)` in the form of `exact_search`, which they nearly always equal; row -1 where the graph found
        fewer than `count` vectors.
    """
    breadth = max(_SEARCH_BREADTH, 2 * count)
    scores, rows = graph.search(queries, count, params=_faiss().SearchParametersHNSW(efSearch=breadth))
    return rows, scores


def write_graph(graph: faiss.IndexHNSWFlat, path: str | Path) -> None:
    """Writes a graph to a file."""
    _faiss().write_index(graph, str(path))


def read_graph(path: str | Path) -> faiss.IndexHNSWFlat:
    """Reads a graph from a file."""
    return _faiss().read_index(str(path))


def _faiss() -> Any:
    try:
        import faiss
    except ImportError:
        return None
    return faiss
