"""The one who changes an index: everything is there afterwards, or everything is as it was."""

import contextlib
import fcntl
import json
import os
import shutil
import zipfile
from pathlib import Path

import numpy as np

from vl_keras.errors import RetrievalError
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

HNSW_FROM = 50_000  # vectors; fewer are compared one and all in milliseconds
_TOLERANCE = 1e-3
_LONGEST = 1.12  # length of a unit vector followed by 1/2
_GENERATION = "generation-"
_UNFINISHED = "unfinished"


class IndexWriter:
    """Holds an index folder for itself and writes new generations of it; a context manager.

    A generation is written aside and forced to the disk; then one rename of the file `current` makes it hold, and the
    one before goes. Vectors that were computed for a generation that is not written yet can be put aside with `keep`:
    they outlive a kill.

    Args:
        folder: of the index; made where absent.

    Attributes:
        index: the `VectorIndex` that holds now, without its graph; None where there is none yet.

    Raises:
        RetrievalError: another process writes it, or the folder holds something else.
    """

    def __init__(self, folder):
        self.folder = Path(folder).expanduser()
        self.index = None
        self._lock = None

    def __enter__(self):
        if self.folder.exists() and not self.folder.is_dir():
            raise RetrievalError(f"`{self.folder}` is a file; an index is a folder, give another name.")
        ours = (self.folder / LOCK).exists() or (self.folder / CURRENT).exists()
        if not ours and self.folder.is_dir() and any(self.folder.iterdir()):
            raise RetrievalError(f"`{self.folder}` is not empty and holds no index; give a folder of its own.")
        self.folder.mkdir(parents=True, exist_ok=True)
        self._lock = open(self.folder / LOCK, "w")
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)  # the system releases it when the process dies
        except OSError as error:
            self._lock.close()
            raise RetrievalError(
                f"Another process changes the index `{self.folder}`. Wait until it is done; it can be searched now."
            ) from error
        try:
            name = current_generation(self.folder)
            self._remove_generations(but=name)  # of a writer that was killed
            self.index = None if name is None else VectorIndex(self.folder / name)
        except BaseException:
            self._lock.close()
            raise
        return self

    def __exit__(self, *error):
        self._lock.close()

    def keep(self, rows, vectors, fingerprint):
        """Puts vectors aside until `write`.

        Args:
            rows: list of n dicts.
            vectors: `(n, D)` float32.
            fingerprint: of their encoder.
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

    def kept(self, fingerprint):
        """`(rows, vectors)` that `keep` put aside with this fingerprint, now or before a kill, in order.

        `vectors` is a list of `(D,)` arrays; what another encoder left there is thrown away.
        """
        rows, vectors = [], []
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
            ):  # what cannot be read is computed again
                ours = False
            if not ours:
                shutil.rmtree(self.folder / _UNFINISHED)
                return [], []
        return rows, vectors

    def write(self, rows, vectors, fingerprint, description, on_progress=None):
        """Makes these the index.

        Args:
            rows: list of N dicts that JSON can hold.
            vectors: `(N, D)` float32, L2-normalised, or that followed by a number from -1/2 to 1/2 which queries, by a
                1 in its place, add to their scores.
            fingerprint: hex string of all that determines the vectors.
            description: dict of what else the reader should know.
            on_progress: called with the number of vectors that the graph of a large index holds, now and then.

        Returns:
            The new `VectorIndex`.

        Raises:
            RetrievalError: it cannot be written; the index is as it was.
            ValueError: rows and vectors are not as many, or a vector's length is not.
        """
        vectors = np.ascontiguousarray(vectors, np.float32)
        if vectors.ndim != 2 or len(vectors) != len(rows):
            raise ValueError(f"`vectors` must be (N, D) for N rows; got {vectors.shape} for {len(rows)} rows.")
        lengths = np.linalg.norm(vectors, axis=1)
        if not ((lengths > 1 - _TOLERANCE) & (lengths < _LONGEST)).all():
            raise ValueError(
                f"Every vector must have length 1, or up to {_LONGEST} with a number for scores at its end; got "
                f"{lengths.min():.4g} to {lengths.max():.4g}."
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
            # ASCII holds the names of files that are not UTF-8, too.
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

    def _old_graph(self, vectors):
        """The graph that holds, where the new vectors only follow the old ones; HNSW knows no deletion."""
        old = self.index
        if old is None or old.kind != HNSW or not np.array_equal(old.vectors, vectors[: len(old)]):
            return None
        return hnsw.read_graph(old.generation / GRAPH)

    def _remove_generations(self, but):
        for path in self.folder.glob(f"{_GENERATION}*"):
            if path.name != but:
                shutil.rmtree(path, ignore_errors=True)

    @contextlib.contextmanager
    def _written(self, path):
        """Inside, `path` is written; where that fails, it is removed, and the error says that nothing is lost."""
        try:
            yield
        except BaseException as error:
            if path.name != current_generation(self.folder):
                shutil.rmtree(path, ignore_errors=True)
                path.with_suffix(".part").unlink(missing_ok=True)
            if not isinstance(error, (OSError, RuntimeError)):  # faiss's own is a RuntimeError
                raise
            raise RetrievalError(
                f"The index `{self.folder}` cannot be written ({error}). It is as it was; make room, or the folder "
                "writable, and run again."
            ) from error


def kind_for(count):
    """How an index of so many vectors is searched here: `exact` or `hnsw`."""
    return HNSW if count >= HNSW_FROM and hnsw.is_installed() else EXACT


def _write_file(path, write):
    with open(path, "wb") as file:
        write(file)
        file.flush()
        os.fsync(file.fileno())


def _force_folder(folder):
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
