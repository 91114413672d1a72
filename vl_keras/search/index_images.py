"""Makes an index of image files, to search them by a text or by another image."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from vl_keras.data.image_files import SUFFIXES, find_images
from vl_keras.errors import RetrievalError, RunError, printable
from vl_keras.files import is_gone
from vl_keras.progress import Progress
from vl_keras.retrieval.index_writer import IndexWriter, kind_for
from vl_keras.retrieval.vector_index import HNSW, VectorIndex, current_generation
from vl_keras.search.image_embedder import ImageEmbedder

_KEPT_AT_ONCE = 1000  # most images that must be embedded again after a kill
Row = dict[str, Any]  # path, size and time of change of an image file


class Indexing(NamedTuple):
    """The result of `index_images`.

    Attributes:
        count: images in the index.
        added: images that are new in the index.
        changed: images that were embedded again because their files changed.
        unchanged: images that were in the index already; they were not read again.
        deleted: images that were removed from the index.
        gone: paths in the index whose files do not exist any more.
        failed: `(path, reason)` of the images that cannot be read; they are not in the index.
        kind: kind of search, `exact` or `hnsw`; empty if there is no index.
        note: a warning about the index for the user; empty if there is none.
    """

    count: int
    added: int
    changed: int
    unchanged: int
    deleted: int
    gone: list[str]
    failed: list[tuple[str, str]]
    kind: str
    note: str


def index_images(
    run_dir: str | Path,
    images: Sequence[str | Path],
    out: str | Path,
    delete: Sequence[str | Path] = (),
    delete_missing: bool = False,
    overrides: Sequence[str] = (),
    weights: str = "auto",
) -> Indexing:
    """Makes an index of images, or updates one.

    The index knows an image by its absolute path, and embeds it again if the size or the time of change of its file is
    different. Images of the index that `images` does not name stay. If a build is stopped, even by a kill, the index
    stays as it was; the next build computes the vectors of at most the last thousand images again.

    Args:
        run_dir: folder of a trained retrieval run; not read if there is no image to index.
        images: files and folders to index; folders are searched for images at any depth.
        out: folder of the index.
        delete: files and folders to remove from the index, with all that is below them, even if `images` names them.
        delete_missing: also remove images whose files certainly do not exist any more; those in a folder or on a disk
            that cannot be read stay.
        overrides: see `ImageEmbedder`, e.g. `data.max_pixels=100000000`.
        weights: `auto`, `best`, `last` or `ema`; see `load_run`.

    Returns:
        `Indexing`.

    Raises:
        RunError: there is no image, no such run, or its task does not embed images; or `delete` names nothing in the
            index.
        RetrievalError: the index was made with another encoder, another process writes it, or it cannot be written; or
            there is no index to delete from.
    """
    leaves = [os.path.abspath(os.path.expanduser(path)) for path in delete]
    rows, failed = _describe(images, leaves)
    if not (rows or failed or leaves or delete_missing):
        raise RunError(
            f"There is no image in {', '.join(map(str, images)) or 'an empty list'}; folders are searched for "
            f"{', '.join(SUFFIXES)}."
        )
    if not (rows or failed) and current_generation(Path(out).expanduser()) is None:
        raise RetrievalError(f"`{out}` holds no index to delete from.")
    embedder = ImageEmbedder(run_dir, weights, overrides) if rows else None
    with IndexWriter(out) as writer:
        index: Any = writer.index  # a `VectorIndex`, or None
        if index is not None and embedder is not None:
            index.check_encoder(embedder.fingerprint, f"the run `{run_dir}`")
        old = {row["path"]: row for row in index.rows} if index is not None else {}
        leaving = _named(leaves, old, out)
        gone = [path for path in old if path not in leaving and is_gone(path)]
        if delete_missing:
            leaving, gone = leaving.union(gone), []
        wanted = [row for row in rows if old.get(row["path"]) != row]
        vectors = _embed(embedder, wanted, writer, failed) if embedder is not None and wanted else {}
        new = [row for row in wanted if row["path"] in vectors]
        # The old vector of a changed image is wrong, even if the new image cannot be read.
        out_of_date = leaving.union(row["path"] for row in wanted)
        stays = [place for place, path in enumerate(old) if path not in out_of_date]
        if index is None and not new:
            return Indexing(0, 0, 0, 0, 0, [], failed, "", "")
        description = index.description if embedder is None else _description(run_dir, weights, overrides)
        count = len(stays) + len(new)
        if new or (len(index), index.description, index.kind) != (count, description, kind_for(count)):
            fingerprint = index.fingerprint if embedder is None else embedder.fingerprint
            index = _write(writer, stays, new, vectors, fingerprint, description)
        changed = sum(row["path"] in old for row in new)
        unchanged, left = len(rows) - len(wanted), len(old) - len(stays) - changed
        return Indexing(count, len(new) - changed, changed, unchanged, left, gone, failed, index.kind, index.note)


def format_indexing(out: str | Path, indexing: Indexing) -> str:
    """The counts of an `Indexing` as a line for a terminal."""
    text = (
        f"{out}: {indexing.count:,} images; {indexing.added:,} added, {indexing.changed:,} changed, "
        f"{indexing.unchanged:,} unchanged, {indexing.deleted:,} deleted"
    )
    return f"{text} ({indexing.kind} search)" if indexing.kind else text


def format_troubles(indexing: Indexing) -> str:
    """The warnings and failures of an `Indexing` as text for a terminal; empty if there are none."""
    lines = [f"note: {indexing.note}"] if indexing.note else []
    if indexing.gone:
        lines.append(f"note: {len(indexing.gone):,} files in the index are gone; --delete-missing removes them from it")
    if indexing.failed:
        lines.append(f"{len(indexing.failed):,} images could not be read:")
        lines += [f"  {printable(path)}: {reason}" for path, reason in indexing.failed]
    return "\n".join(lines)


def _describe(images: Sequence[str | Path], delete: Iterable[str]) -> tuple[list[Row], list[tuple[str, str]]]:
    """A row for each image file, and `(path, reason)` of the files that do not exist."""
    rows: dict[str, Row] = {}
    failed: list[tuple[str, str]] = []
    for found in find_images(images):
        path = os.path.abspath(found)
        if _is_below(path, delete):
            continue
        try:
            status = os.stat(path)
        except OSError as error:
            failed.append((path, error.strerror or str(error)))
        else:
            rows[path] = {"path": path, "size": status.st_size, "modified_ns": status.st_mtime_ns}
    return list(rows.values()), failed


def _description(run_dir: str | Path, weights: str, overrides: Sequence[str]) -> dict[str, Any]:
    run = os.path.abspath(os.path.expanduser(run_dir))
    return {"run": run, "weights": weights, "overrides": list(overrides)}


def _named(delete: Iterable[str], paths: Collection[str], out: str | Path) -> set[str]:
    """The `paths` that `delete` names; raises `RunError` if an entry of `delete` names none."""
    named: set[str] = set()
    for path in delete:
        below = [known for known in paths if _is_below(known, [path])]
        if not below:
            raise RunError(f"Nothing in the index `{out}` is `{path}` or lies below it.")
        named.update(below)
    return named


def _is_below(path: str, folders: Iterable[str]) -> bool:
    return any(path == folder or path.startswith(os.path.join(folder, "")) for folder in folders)


def _embed(
    embedder: ImageEmbedder, wanted: Sequence[Row], writer: IndexWriter, failed: list[tuple[str, str]]
) -> dict[str, np.ndarray]:
    """Dict of path -> vector for the images that can be read; the others are added to `failed`."""
    rows = {row["path"]: row for row in wanted}
    # Vectors that a stopped build had already computed; an image may have changed since.
    kept = zip(*writer.kept(embedder.fingerprint), strict=True)
    vectors = {row["path"]: vector for row, vector in kept if rows.get(row["path"]) == row}
    left = [row for row in wanted if row["path"] not in vectors]
    waiting: list[Row] = []
    batches = embedder.embed_images([row["path"] for row in left])
    with Progress("images", len(wanted), "image", len(vectors), show=len(left) > 1) as progress:
        for places, batch, bad in batches:
            failed += bad
            for place, vector in zip(places, batch, strict=True):
                vectors[left[place]["path"]] = vector
                waiting.append(left[place])
            if len(waiting) >= _KEPT_AT_ONCE:
                writer.keep(waiting, np.stack([vectors[row["path"]] for row in waiting]), embedder.fingerprint)
                waiting = []
            progress.to(progress.done + len(places) + len(bad))
    return vectors


def _write(
    writer: IndexWriter,
    stays: Sequence[int],
    new: list[Row],
    vectors: Mapping[str, np.ndarray],
    fingerprint: str,
    description: dict[str, Any],
) -> VectorIndex:
    index = writer.index
    rows = ([index.rows[place] for place in stays] if index is not None else []) + new
    parts = [np.stack([vectors[row["path"]] for row in new])] if new else []
    if index is not None:
        parts.insert(0, index.vectors[np.array(stays, int)])
    with Progress("graph", len(rows), "vector", show=kind_for(len(rows)) == HNSW) as progress:
        return writer.write(rows, np.concatenate(parts), fingerprint, description, progress.to)
