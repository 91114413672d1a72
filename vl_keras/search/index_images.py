"""An index of anybody's images, to search them by words or by another image."""

import os
from pathlib import Path
from typing import NamedTuple

import numpy as np

from vl_keras.data.image_files import SUFFIXES, find_images, printable
from vl_keras.errors import RetrievalError, RunError
from vl_keras.progress import Progress
from vl_keras.retrieval.index_writer import IndexWriter, kind_for
from vl_keras.retrieval.vector_index import HNSW, current_generation
from vl_keras.search.image_embedder import ImageEmbedder

_KEPT_AT_ONCE = 1000  # images that a kill costs, at most


class Indexing(NamedTuple):
    """What became of an index.

    Attributes:
        count: images in it.
        added: of the images that were looked for, those that are new in it.
        changed: those whose vectors were made anew.
        unchanged: those that were in it; they were not read again.
        deleted: images that left it.
        gone: paths in it whose files are not there any more.
        failed: `(path, reason)` of the images that could not be read; they are not in it.
        kind: `exact` or `hnsw`; empty where there is no index.
        note: what the user should know of it; empty where there is nothing.
    """

    count: int
    added: int
    changed: int
    unchanged: int
    deleted: int
    gone: list
    failed: list
    kind: str
    note: str


def index_images(run_dir, images, out, delete=(), delete_missing=False, overrides=(), weights="auto"):
    """Makes an index of images, or brings one up to date.

    An image is known by its absolute path, and embedded again when its file's size or time of change is another. What
    the index holds and `images` does not name stays. A build that is stopped, by whatever means, leaves the index as it
    was; started again, it goes on behind the last thousand images.

    Args:
        run_dir: folder of a trained retrieval run; not looked at where there is no image to index.
        images: files and folders to index; folders are searched for images at any depth.
        out: folder of the index.
        delete: files and folders that leave the index, with all below them, even where `images` names them.
        delete_missing: images whose files are gone leave it, too.
        overrides: as of `ImageEmbedder`, e.g. `data.max_pixels=100000000`.
        weights: `auto`, `best`, `last` or `ema`; see `load_run`.

    Returns:
        `Indexing`.

    Raises:
        RunError: there is no image, no such run, or one that gives images no vectors; or `delete` names
            nothing in the index.
        RetrievalError: the index is another encoder's, another process writes it, or it cannot be written; or there is
            none to delete from.
    """
    delete = [os.path.abspath(os.path.expanduser(path)) for path in delete]
    rows, failed = _describe(images, delete)
    if not (rows or failed or delete or delete_missing):
        raise RunError(
            f"There is no image in {', '.join(map(str, images)) or 'an empty list'}; folders are searched for "
            f"{', '.join(SUFFIXES)}."
        )
    if not (rows or failed) and current_generation(Path(out).expanduser()) is None:
        raise RetrievalError(f"`{out}` holds no index to delete from.")
    embedder = ImageEmbedder(run_dir, weights, overrides) if rows else None
    with IndexWriter(out) as writer:
        index = writer.index
        if index is not None and embedder is not None:
            index.check_encoder(embedder.fingerprint, f"the run `{run_dir}`")
        old = {row["path"]: row for row in index.rows} if index is not None else {}
        leaving = _named(delete, old, out)
        gone = [path for path in old if path not in leaving and not os.path.exists(path)]
        if delete_missing:
            leaving, gone = leaving.union(gone), []
        wanted = [row for row in rows if old.get(row["path"]) != row]
        vectors = _embed(embedder, wanted, writer, failed) if wanted else {}
        new = [row for row in wanted if row["path"] in vectors]
        # The old vector of an image that changed is not true any more, even where the new one cannot be read.
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


def format_indexing(out, indexing):
    """What became of an index, as a line for a terminal."""
    text = (
        f"{out}: {indexing.count:,} images; {indexing.added:,} added, {indexing.changed:,} changed, "
        f"{indexing.unchanged:,} unchanged, {indexing.deleted:,} deleted"
    )
    return f"{text} ({indexing.kind} search)" if indexing.kind else text


def format_troubles(indexing):
    """What the user should look at, as text for a terminal; empty where there is nothing."""
    lines = [f"note: {indexing.note}"] if indexing.note else []
    if indexing.gone:
        lines.append(f"note: {len(indexing.gone):,} files in the index are gone; --delete-missing removes them from it")
    if indexing.failed:
        lines.append(f"{len(indexing.failed):,} images could not be read:")
        lines += [f"  {printable(path)}: {reason}" for path, reason in indexing.failed]
    return "\n".join(lines)


def _describe(images, delete):
    """A row for each image file, and `(path, reason)` of those that are not there."""
    rows, failed = {}, []
    for path in find_images(images):
        path = os.path.abspath(path)
        if _is_below(path, delete):
            continue
        try:
            status = os.stat(path)
        except OSError as error:
            failed.append((path, error.strerror or str(error)))
        else:
            rows[path] = {"path": path, "size": status.st_size, "modified_ns": status.st_mtime_ns}
    return list(rows.values()), failed


def _description(run_dir, weights, overrides):
    run = os.path.abspath(os.path.expanduser(run_dir))
    return {"run": run, "weights": weights, "overrides": list(overrides)}


def _named(delete, paths, out):
    """Those of `paths` that `delete` names; raises where one of its own names none."""
    named = set()
    for path in delete:
        below = [known for known in paths if _is_below(known, [path])]
        if not below:
            raise RunError(f"Nothing in the index `{out}` is `{path}` or lies below it.")
        named.update(below)
    return named


def _is_below(path, folders):
    return any(path == folder or path.startswith(os.path.join(folder, "")) for folder in folders)


def _embed(embedder, wanted, writer, failed):
    """Path -> vector of the rows that can be read; `failed` gets the others."""
    rows = {row["path"]: row for row in wanted}
    # What a build that was stopped had already embedded; an image may have changed since.
    kept = zip(*writer.kept(embedder.fingerprint), strict=True)
    vectors = {row["path"]: vector for row, vector in kept if rows.get(row["path"]) == row}
    left = [row for row in wanted if row["path"] not in vectors]
    waiting = []
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


def _write(writer, stays, new, vectors, fingerprint, description):
    rows = [writer.index.rows[place] for place in stays] + new
    parts = [np.stack([vectors[row["path"]] for row in new])] if new else []
    if writer.index is not None:
        parts.insert(0, writer.index.vectors[np.array(stays, int)])
    with Progress("graph", len(rows), "vector", show=kind_for(len(rows)) == HNSW) as progress:
        return writer.write(rows, np.concatenate(parts), fingerprint, description, progress.to)
