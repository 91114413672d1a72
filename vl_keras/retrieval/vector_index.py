"""A folder of vectors and of what each stands for, searched for the nearest to a query."""

import json
from pathlib import Path

import numpy as np

from vl_keras.errors import RetrievalError
from vl_keras.retrieval import hnsw
from vl_keras.retrieval.exact_search import exact_search

FORMAT = 1
CURRENT, META, ROWS, VECTORS, GRAPH = "current", "meta.json", "rows.jsonl", "vectors.npy", "graph.faiss"
LOCK = ".lock"  # there from a writer's first touch on
EXACT, HNSW = "exact", "hnsw"
INSTALL_FAISS = "faiss is not installed, so every vector is looked at; `pip install 'vl_keras[retrieval]'` is faster"


class VectorIndex:
    """Vectors in rows, each with a dict that says what it stands for; opened by `open`, changed by `IndexWriter`.

    On disk: `current` names the generation that holds, a folder with `meta.json`, `rows.jsonl`, `vectors.npy` (float32,
    memory-mapped) and, in a large index, `graph.faiss`. A generation is never changed, so that an open index stays as
    it was while another is written.

    Attributes:
        rows: list of dicts.
        vectors: `(N, D)` float32, of length 1 or a little more; see `IndexWriter.write`.
        fingerprint: of the encoder that the vectors come from.
        description: dict, the writer's own.
        kind: `exact` or `hnsw`.
        note: what the user should know of it; empty where there is nothing.
    """

    def __init__(self, generation):
        self.generation = Path(generation)
        try:
            meta = json.loads((self.generation / META).read_text(encoding="utf-8"))
            if meta["format"] != FORMAT:
                raise RetrievalError(
                    f"`{self.generation.parent}` is an index of format {meta['format']}, and this vl_keras reads "
                    f"format {FORMAT}. Build it anew in another folder."
                )
            self.fingerprint, self.kind, self.description = meta["fingerprint"], meta["kind"], meta["description"]
            with open(self.generation / ROWS, encoding="utf-8") as lines:
                self.rows = [json.loads(line) for line in lines]
            self.vectors = _map(self.generation / VECTORS, (meta["count"], meta["dimension"]))
            if len(self.rows) != meta["count"]:
                raise ValueError(f"{ROWS} has {len(self.rows)} rows and should have {meta['count']}")
        except (ValueError, KeyError, TypeError, EOFError) as error:
            raise RetrievalError(
                f"The index `{self.generation.parent}` is damaged ({error}); build it anew."
            ) from error
        self._graph = None
        self.note = ""

    def __len__(self):
        return len(self.rows)

    @classmethod
    def open(cls, folder):
        """Opens what an `IndexWriter` wrote last.

        Raises:
            RetrievalError: there is no index, it is damaged, or another format's.
        """
        folder = Path(folder).expanduser()
        name = current_generation(folder)
        if name is None:
            begun = (folder / LOCK).exists()
            unfinished = " (building it was stopped: build it again, and it goes on)" if begun else ""
            raise RetrievalError(f"`{folder}` holds no index{unfinished}.")
        while True:
            try:
                index = cls(folder / name)
                index._open_graph()
                return index
            except (OSError, RuntimeError) as error:  # faiss's own is a RuntimeError
                newer = current_generation(folder)
                if newer in (name, None) and isinstance(error, RetrievalError):
                    raise
                if newer in (name, None):
                    raise _damaged(folder, error) from error
                name = newer  # a writer switched between the two reads, and the old generation is gone

    def check_encoder(self, fingerprint, encoder):
        """Raises `RetrievalError` unless the vectors are of this fingerprint's encoder, which `encoder` names."""
        if fingerprint != self.fingerprint:
            raise RetrievalError(
                f"The index `{self.generation.parent}` holds vectors of another encoder (fingerprint "
                f"{self.fingerprint[:12]}) than {encoder} (fingerprint {fingerprint[:12]}); they cannot be compared. "
                "Take the run, weights and settings that it was built with, or build a new index in another folder."
            )

    def search(self, queries, count=10):
        """The nearest vectors to each query, by inner product, which is the cosine of L2-normalised vectors.

        Args:
            queries: `(Q, D)`.
            count: K; of a smaller index, all.

        Returns:
            `(rows, scores)`: `(Q, K)` int64 places in `rows` and `(Q, K)` float32, best first. A `hnsw` index may miss
            some of the nearest.

        Raises:
            ValueError: the queries have another width.
        """
        queries = np.ascontiguousarray(queries, np.float32)
        if queries.ndim != 2 or queries.shape[1] != self.vectors.shape[1]:
            raise ValueError(f"`queries` must be (Q, {self.vectors.shape[1]}); got {queries.shape}.")
        count = min(count, len(self))
        if self._graph is not None:
            rows, scores = hnsw.search_graph(self._graph, queries, count)
            if (rows >= 0).all():
                return rows, scores
        return exact_search(self.vectors, queries, count)

    def _open_graph(self):
        if self.kind == HNSW and hnsw.is_installed():
            self._graph = hnsw.read_graph(self.generation / GRAPH)
        elif self.kind == HNSW:
            self.note = INSTALL_FAISS


def current_generation(folder):
    """Name of the generation that holds in an index folder; None where there is none yet."""
    try:
        return (folder / CURRENT).read_text(encoding="utf-8").strip()
    except (FileNotFoundError, NotADirectoryError):
        return None


def _damaged(folder, error):
    return RetrievalError(f"The index `{folder}` is damaged ({error}); delete it and build it anew.")


def _map(path, shape):
    if shape[0] == 0:  # nothing to map
        return np.zeros(shape, np.float32)
    vectors = np.load(path, mmap_mode="r")
    if vectors.shape != shape or vectors.dtype != np.float32:
        raise ValueError(f"{VECTORS} is {vectors.dtype} {vectors.shape} and should be float32 {shape}")
    return vectors
