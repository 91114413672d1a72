"""The graph that finds near vectors without looking at all: faiss's HNSW (Malkov and Yashunin, 2018).

The settings hold recall@10 above 0.98 on `benchmarks/search.py`'s 100,000 vectors.
"""

import numpy as np

_LINKS = 32  # M: neighbours a vector keeps on each layer above the lowest, which keeps twice as many
_CONSTRUCTION_BREADTH = 160  # efConstruction
_SEARCH_BREADTH = 160  # efSearch: candidates kept during a search
_ADDED_AT_ONCE = 2000


def is_installed():
    """Whether faiss is there."""
    return _faiss() is not None


def extend_graph(graph, vectors, on_progress=None):
    """Adds vectors to a graph.

    Args:
        graph: faiss index that holds the first of `vectors`; None: a new one.
        vectors: `(N, D)` float32, of length 1 or a little more, N at least 1.
        on_progress: called with the number of vectors that the graph holds, now and then.

    Returns:
        The graph of all N.
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


def search_graph(graph, queries, count):
    """`(rows, scores)` as `exact_search` gives them, nearly always; row -1 where the graph found fewer than `count`."""
    breadth = max(_SEARCH_BREADTH, 2 * count)
    scores, rows = graph.search(queries, count, params=_faiss().SearchParametersHNSW(efSearch=breadth))
    return rows, scores


def write_graph(graph, path):
    _faiss().write_index(graph, str(path))


def read_graph(path):
    return _faiss().read_index(str(path))


def _faiss():
    try:
        import faiss
    except ImportError:
        return None
    return faiss
