"""A folder of vectors with a description of each, searched for the vectors nearest to a query."""

import json
from pathlib import Path
from typing import Any

import numpy as np

from vl_keras.errors import RetrievalError
from vl_keras.retrieval import hnsw
from vl_keras.retrieval.exact_search import exact_search

FORMAT = 1
CURRENT, META, ROWS, VECTORS, GRAPH = "current", "meta.json", "rows.jsonl", "vectors.npy", "graph.faiss"
LOCK = ".lock"  # exists as soon as a writer has opened the folder
EXACT, HNSW = "exact", "hnsw"
INSTALL_FAISS = "faiss is not installed, so every vector is compared; `pip install 'vl_keras[retrieval]'` is faster"


class VectorIndex:
    """Vectors in rows, each with a dict that describes it. `open` opens an index, `IndexWriter` changes it.

    On disk: `current` names the current generation, a folder with `meta.json`, `rows.jsonl`, `vectors.npy` (float32,
    memory-mapped) and, in a large index, `graph.faiss`. A generation is never changed, so an open index stays the same
    while a new one is written.

    Args:
        generation: folder of the generation.

    Attributes:
        rows: a dict for each vector.
        vectors: `(N, D)` float32, of length 1 or a little more; see `IndexWriter.write`.
        fingerprint: fingerprint of the vectors' encoder.
        description: dict that the writer stored.
        kind: `exact` or `hnsw`.
        note: a hint for the user, or an empty string.

    Raises:
        RetrievalError: the index is damaged or of another format.
    """

    def __init__(self, generation: str | Path) -> None:
        self.generation = Path(generation)
        try:
            meta = json.loads((self.generation / META).read_text(encoding="utf-8"))
            if meta["format"] != FORMAT:
                raise RetrievalError(
                    f"`{self.generation.parent}` is an index of format {meta['format']}, and this vl_keras reads "
                    f"format {FORMAT}. Build a new index in another folder."
                )
            self.fingerprint: str = meta["fingerprint"]
            self.kind: str = meta["kind"]
            self.description: dict[str, Any] = meta["description"]
            with open(self.generation / ROWS, encoding="utf-8") as lines:
                self.rows: list[dict[str, Any]] = [json.loads(line) for line in lines]
            self.vectors = _map(self.generation / VECTORS, (meta["count"], meta["dimension"]))
            if len(self.rows) != meta["count"]:
                raise ValueError(f"{ROWS} has {len(self.rows)} rows and should have {meta['count']}")
        except (ValueError, KeyError, TypeError, EOFError) as error:
            raise RetrievalError(
                f"The index `{self.generation.parent}` is damaged ({error}); build a new one."
            ) from error
        self._graph: Any = None
        self.note = ""

    def __len__(self) -> int:
        return len(self.rows)

    @classmethod
    def open(cls, folder: str | Path) -> "VectorIndex":
        """Opens the current generation of an index folder.

        Raises:
            RetrievalError: the folder holds no index, or one that is damaged or of another format.
        """
        folder = Path(folder).expanduser()
        name = current_generation(folder)
        if name is None:
            begun = (folder / LOCK).exists()
            unfinished = " (its building was stopped: build it again to continue)" if begun else ""
            raise RetrievalError(f"`{folder}` holds no index{unfinished}.")
        while True:
            try:
                index = cls(folder / name)
                index._open_graph()
                return index
            except (OSError, RuntimeError) as error:  # faiss raises RuntimeError
                newer = current_generation(folder)
                if newer in (name, None) and isinstance(error, RetrievalError):
                    raise
                if newer in (name, None):
                    raise _damaged(folder, error) from error
                name = newer  # a writer replaced the generation between the two reads

    def check_encoder(self, fingerprint: str, encoder: str) -> None:
        """Checks that the vectors come from the encoder with this fingerprint.

        Args:
            fingerprint: fingerprint of the encoder.
            encoder: name of the encoder, for the message.

        Raises:
            RetrievalError: the vectors come from another encoder.
        """
        if fingerprint != self.fingerprint:
            raise RetrievalError(
                f"The index `{self.generation.parent}` holds vectors of another encoder (fingerprint "
                f"{self.fingerprint[:12]}) than {encoder} (fingerprint {fingerprint[:12]}); they cannot be compared. "
                "Use the run, weights and settings that built the index, or build a new index in another folder."
            )

    def search(self, queries: np.ndarray, count: int = 10) -> tuple[np.ndarray, np.ndarray]:
        """Finds the vectors nearest to each query, by inner product, which is the cosine of L2-normalised vectors.

        Args:
            queries: `(Q, D)`.
            count: K; a smaller index returns all its vectors.

        Returns:
            `(rows, scores)`: `(Q, K)` int64 indices of `rows` and `(Q, K)` float32, best first. A `hnsw` index may miss
            some of the nearest vectors.

        Raises:
            ValueError: the queries do not have the width of the vectors.
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

    def _open_graph(self) -> None:
        if self.kind == HNSW and hnsw.is_installed():
            self._graph = hnsw.read_graph(self.generation / GRAPH)
        elif self.kind == HNSW:
            self.note = INSTALL_FAISS


def current_generation(folder: Path) -> str | None:
    """Name of the current generation of an index folder; None if there is none yet."""
    try:
        return (folder / CURRENT).read_text(encoding="utf-8").strip()
    except (FileNotFoundError, NotADirectoryError):
        return None


def _damaged(folder: Path, error: BaseException) -> RetrievalError:
    return RetrievalError(f"The index `{folder}` is damaged ({error}); delete it and build a new one.")


def _map(path: Path, shape: tuple[int, int]) -> np.ndarray:
    if shape[0] == 0:  # nothing to map
        return np.zeros(shape, np.float32)
    vectors = np.load(path, mmap_mode="r")
    if vectors.shape != shape or vectors.dtype != np.float32:
        raise ValueError(f"{VECTORS} is {vectors.dtype} {vectors.shape} and should be float32 {shape}")
    return vectors
