"""Writing of an index: a change succeeds completely, or the index stays as it was."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import zipfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import numpy as np

from vl_keras.errors import RetrievalError
from vl_keras.files import locked
from vl_keras.retrieval import hnsw
from vl_keras.retrieval.vector_index import (
    CURRENT,
    EXACT,
    FORMAT,
    GRAPH,
    HNSW,
    INSTALL_FAISS,
    LOCK,
    META,
    ROWS,
    VECTORS,
    VectorIndex,
    current_generation,
)

if TYPE_CHECKING:
    import faiss

HNSW_FROM = 50_000  # vectors; exact search in a smaller index takes milliseconds
_TOLERANCE = 1e-3
_LONGEST = 1.12  # length of a unit vector followed by the number 1/2
_GENERATION = "generation-"
_UNFINISHED = "unfinished"


class IndexWriter:
    """Locks an index folder and writes new generations of it; a context manager.

    A new generation is written to its own folder and flushed to the disk. Then one rename of the file `current`
    activates it, and the previous generation is deleted. Vectors for a generation that is not written yet can be saved
    with `keep`; they are still there after the process was killed.

    Args:
        folder: folder of the index; created if it does not exist.

    Attributes:
        index: the current `VectorIndex`, without its graph; None if there is none yet.

    Raises:
        RetrievalError: another process writes the index, or the folder holds something else.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder).expanduser()
        self.index: VectorIndex | None = None
        self._open = contextlib.ExitStack()

    def __enter__(self) -> IndexWriter:
        if self.folder.exists() and not self.folder.is_dir():
            raise RetrievalError(f"`{self.folder}` is a file; an index is a folder, choose another name.")
        ours = (self.folder / LOCK).exists() or (self.folder / CURRENT).exists()
        if not ours and self.folder.is_dir() and any(self.folder.iterdir()):
            raise RetrievalError(f"`{self.folder}` is not empty and holds no index; choose an empty or new folder.")
        self.folder.mkdir(parents=True, exist_ok=True)
        with contextlib.ExitStack() as stack:
            try:
                held = stack.enter_context(locked(self.folder / LOCK, wait=False))
            except BlockingIOError as error:
                raise RetrievalError(
                    f"Another process changes the index `{self.folder}`. Wait until it is done; you can search the "
                    "index meanwhile."
                ) from error
            if not held:
                raise RetrievalError(f"The index `{self.folder}` may not be written to; it can only be searched.")
            name = current_generation(self.folder)
            self._remove_generations(but=name)  # left by a writer that was killed
            self.index = None if name is None else VectorIndex(self.folder / name)
            self._open = stack.pop_all()
        return self

    def __exit__(self, *error: object) -> None:
        self._open.close()

    def keep(self, rows: Sequence[dict[str, Any]], vectors: np.ndarray, fingerprint: str) -> None:
        """Saves vectors until `write`.

        Args:
            rows: n dicts.
            vectors: `(n, D)` float32.
            fingerprint: fingerprint of the vectors' encoder.

        Raises:
            RetrievalError: the vectors cannot be saved.
        """
        folder = self.folder / _UNFINISHED
        folder.mkdir(exist_ok=True)
        path = folder / f"{len(list(folder.glob('*.npz'))):06d}.npz"
        part = path.with_suffix(".part")
        with self._written(path):
            _write_file(
                part, lambda file: np.savez(file, rows=json.dumps(rows), vectors=vectors, fingerprint=fingerprint)
            )
            os.replace(part, path)

    def kept(self, fingerprint: str) -> tuple[list[dict[str, Any]], list[np.ndarray]]:
        """Returns the rows and vectors that `keep` saved with this fingerprint, now or before a kill, in order.

        Vectors of another encoder are deleted.

        Returns:
            `(rows, vectors)`; `vectors` is a list of `(D,)` arrays.
        """
        rows: list[dict[str, Any]] = []
        vectors: list[np.ndarray] = []
        for path in sorted((self.folder / _UNFINISHED).glob("*.npz")):
            try:
                with np.load(path) as saved:
                    ours = str(saved["fingerprint"]) == fingerprint
                    if ours:
                        rows += json.loads(str(saved["rows"]))
                        vectors += list(saved["vectors"])
            except (
                OSError,
                EOFError,
                ValueError,
                KeyError,
                zipfile.BadZipFile,
            ):  # an unreadable file is deleted, and its vectors are computed again
                ours = False
            if not ours:
                shutil.rmtree(self.folder / _UNFINISHED)
                return [], []
        return rows, vectors

    def write(
        self,
        rows: Sequence[dict[str, Any]],
        vectors: np.ndarray,
        fingerprint: str,
        description: dict[str, Any],
        on_progress: Callable[[int], None] | None = None,
    ) -> VectorIndex:
        """Replaces the contents of the index.

        Args:
            rows: N dicts of JSON values.
            vectors: `(N, D)` float32. Each is L2-normalised, or an L2-normalised vector followed by a number from -1/2
                to 1/2 that is added to its scores: queries have a 1 in that place.
            fingerprint: hex string that identifies everything that determines the vectors.
            description: further information for readers of the index.
            on_progress: called now and then with the number of vectors in the graph of a large index.

        Returns:
            The new `VectorIndex`.

        Raises:
            RetrievalError: the index cannot be written; it stays as it was.
            ValueError: the numbers of rows and vectors differ, or a vector has a wrong length.
        """
        vectors = np.ascontiguousarray(vectors, np.float32)
        if vectors.ndim != 2 or len(vectors) != len(rows):
            raise ValueError(f"`vectors` must be (N, D) for N rows; got {vectors.shape} for {len(rows)} rows.")
        lengths = np.linalg.norm(vectors, axis=1)
        if not ((lengths > 1 - _TOLERANCE) & (lengths < _LONGEST)).all():
            raise ValueError(
                f"Every vector must have length 1, or up to {_LONGEST} if it ends in a number that is added to scores; "
                f"got {lengths.min():.4g} to {lengths.max():.4g}."
            )
        kind = kind_for(len(rows))
        meta = {
            "format": FORMAT,
            "kind": kind,
            "count": len(rows),
            "dimension": vectors.shape[1],
            "fingerprint": fingerprint,
            "description": description,
        }
        old = current_generation(self.folder)
        name = f"{_GENERATION}{int(old.removeprefix(_GENERATION)) + 1 if old else 1:06d}"
        generation = self.folder / name
        with self._written(generation):
            generation.mkdir()
            _write_file(generation / VECTORS, lambda file: np.save(file, vectors))
            # Escaped to ASCII, file names that are not valid UTF-8 can be stored too.
            _write_file(generation / ROWS, lambda file: file.writelines(f"{json.dumps(r)}\n".encode() for r in rows))
            if kind == HNSW:
                hnsw.write_graph(hnsw.extend_graph(self._old_graph(vectors), vectors, on_progress), generation / GRAPH)
                with open(generation / GRAPH, "rb") as file:
                    os.fsync(file.fileno())
            _write_file(generation / META, lambda file: file.write(json.dumps(meta, indent=1).encode()))
            _force_folder(generation)
            part = self.folder / f"{CURRENT}.part"
            _write_file(part, lambda file: file.write(f"{name}\n".encode()))
            os.replace(part, self.folder / CURRENT)
            _force_folder(self.folder)
        self.index = VectorIndex(generation)
        self._remove_generations(but=name)
        shutil.rmtree(self.folder / _UNFINISHED, ignore_errors=True)
        if len(rows) >= HNSW_FROM and kind == EXACT:
            self.index.note = INSTALL_FAISS
        return self.index

    def _old_graph(self, vectors: np.ndarray) -> faiss.IndexHNSWFlat | None:
        """The current graph if the new vectors only extend the old ones; HNSW has no deletion."""
        old = self.index
        if old is None or old.kind != HNSW or not np.array_equal(old.vectors, vectors[: len(old)]):
            return None
        return hnsw.read_graph(old.generation / GRAPH)

    def _remove_generations(self, but: str | None) -> None:
        for path in self.folder.glob(f"{_GENERATION}*"):
            if path.name != but:
                shutil.rmtree(path, ignore_errors=True)

    @contextlib.contextmanager
    def _written(self, path: Path) -> Iterator[None]:
        """Context in which `path` is written. If that fails, `path` is removed and `RetrievalError` is raised."""
        try:
            yield
        except BaseException as error:
            if path.name != current_generation(self.folder):
                shutil.rmtree(path, ignore_errors=True)
                path.with_suffix(".part").unlink(missing_ok=True)
            if not isinstance(error, (OSError, RuntimeError)):  # faiss raises RuntimeError
                raise
            raise RetrievalError(
                f"The index `{self.folder}` cannot be written ({error}). It is as it was. Free some disk space, or "
                "make the folder writable, and run the command again."
            ) from error


def kind_for(count: int) -> str:
    """How an index of `count` vectors is searched on this machine: `exact` or `hnsw`."""
    return HNSW if count >= HNSW_FROM and hnsw.is_installed() else EXACT


def _write_file(path: Path, write: Callable[[IO[bytes]], Any]) -> None:
    with open(path, "wb") as file:
        write(file)
        file.flush()
        os.fsync(file.fileno())


def _force_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
