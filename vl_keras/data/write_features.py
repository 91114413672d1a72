"""The files of a feature cache: written shard by shard, each whole or not at all."""

import contextlib
import dataclasses
import functools
import json
import os
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np
import tensorflow as tf

from vl_keras.config import AugmentConfig, DataConfig
from vl_keras.data.examples import Examples
from vl_keras.data.load_contents import load_contents
from vl_keras.data.modalities import Modality
from vl_keras.errors import FeatureCacheError
from vl_keras.progress import Progress

Encode = Callable[..., Any]  # of `FeatureCache.build_or_open`

_FORMAT = 1
_SHARD_BYTES, _SHARD_CONTENTS = 2**26, 1024  # at most, of a shard: a kill costs little, and few files are open
_VIEW_SEED = 20160  # of the augmented views; fixed, so that runs with other seeds share a cache


def cache_key(source: Examples, modality: Modality, fingerprint: str, data: DataConfig, views: int) -> dict[str, Any]:
    """All that the tokens of a cache follow from; a cache with another key holds something else."""
    augment = dataclasses.asdict(data.augment)
    key = {
        "format": _FORMAT,
        "encoder": fingerprint,
        **modality.decoding_settings(data),
        "views": views,
        "augment": {name: augment[name] for name in modality.augments} if views > 1 else None,
        "split": source.split,
        "source": source.fingerprint,
        "images": len(source.names(modality.name)),  # contents, of whatever modality: older caches name them so
    }
    return key if modality.name == "image" else {**key, "modality": modality.name}


def read_description(folder: Path, key: dict[str, Any]) -> dict[str, Any] | None:
    """What `cache.json` says, or None where there is none yet; raises where it is another cache."""
    path = folder / "cache.json"
    if not path.exists():
        return None
    try:
        description = json.loads(path.read_text(encoding="utf-8"))
        found = description["key"]
    except (ValueError, KeyError, TypeError) as error:
        raise FeatureCacheError(f"{path} cannot be read ({error}); delete the folder {folder}.") from error
    names = [name for name in {**found, **key} if found.get(name) != key.get(name)]
    if names:
        lines = "".join(f"\n  {name}: the cache has {found.get(name)!r}, this run {key.get(name)!r}" for name in names)
        raise FeatureCacheError(
            f"The feature cache {folder} was made from something else:{lines}\n"
            "Delete that folder to make it anew, or set `data.data_dir` to another place to keep both."
        )
    return description


def start_cache(
    folder: Path,
    key: dict[str, Any],
    source: Examples,
    modality: Modality,
    encode_fn: Encode,
    data: DataConfig,
    batch_size: int,
) -> dict[str, Any]:
    """Writes what describes a cache; the encoder's own answer to one blank batch tells the shape."""
    blank = tf.zeros((batch_size, *[1 if size is None else size for size in modality.value_spec(data).shape]))
    tokens, mask = _encode(encode_fn, blank, tf.ones(blank.shape[:2], tf.bool) if modality.varies(data) else None)
    if tokens.ndim != 3 or len(tokens) != batch_size or (mask is not None and mask.shape != tokens.shape[:2]):
        raise FeatureCacheError(
            f"`encode_fn` must give ({batch_size}, R, D) for {batch_size} {modality.units}, and where it gives a mask "
            f"({batch_size}, R); it gave {tokens.shape}{'' if mask is None else f' and {mask.shape}'}."
        )
    row_bytes = 2 * tokens.shape[1] * tokens.shape[2]
    shard_rows = max(1, min(_SHARD_BYTES // row_bytes, _SHARD_CONTENTS) // batch_size) * batch_size
    flipped = np.zeros((len(source), key["views"]), bool)
    for view in range(1, key["views"]):
        flipped[:, view] = (np.random.default_rng([_VIEW_SEED, view, 1]).random(len(source)) < 0.5) & data.augment.flip
    _write_aside(folder / "flipped.npy", functools.partial(_save, flipped))
    length = tokens.shape[1] if mask is None else None
    description = {"key": key, "token_shape": [length, tokens.shape[2]], "shard_rows": shard_rows}
    _write_aside(folder / "cache.json", functools.partial(_dump, description))
    return description


def write_missing(
    folder: Path,
    description: dict[str, Any],
    source: Examples,
    modality: Modality,
    encode_fn: Encode,
    data: DataConfig,
    batch_size: int,
) -> None:
    """Writes the shards that are not there yet, or not whole."""
    for part in folder.glob("*.part"):  # of a build that was killed
        with contextlib.suppress(OSError):  # of a folder that may only be read
            part.unlink()
    rows, contents, views = description["shard_rows"], description["key"]["images"], description["key"]["views"]
    sizes = {shard: min(rows, contents - shard * rows) for shard in range(-(-contents // rows))}
    missing = [
        (view, shard)
        for view in range(views)
        for shard, size in sizes.items()
        if not _is_whole(shard_path(folder, view, shard), size, description["token_shape"])
    ]
    if not missing:
        return
    wanted, total = sum(sizes[shard] for _, shard in missing), contents * views
    _check_space(folder, wanted, description["token_shape"])
    with Progress(f"encoding {modality.units}", total, modality.name, total - wanted) as progress:
        for augment in (None, data.augment):
            shards = [(view, shard) for view, shard in missing if (view > 0) == (augment is not None)]
            if shards:
                writer = _ShardWriter(folder, description, source, modality, encode_fn, data, batch_size)
                writer.write(shards, augment, progress)


def shard_path(folder: Path, view: int, shard: int) -> Path:
    return folder / f"view-{view}-{shard:05d}.npy"


def lengths_path(path: Path) -> Path:
    """The JSON file beside a shard: its unreadable contents and, where they differ, how many tokens each has."""
    return path.with_suffix(".json")


class _Batch(NamedTuple):
    """Which shard a batch belongs to, how many of its rows are stored, and whether it is the last one of the shard."""

    view: int
    shard: int
    stored: int
    ends: bool


@dataclasses.dataclass
class _ShardWriter:
    """Encodes contents and writes the shards that they belong to."""

    folder: Path
    description: dict[str, Any]
    source: Examples
    modality: Modality
    encode_fn: Encode
    data: DataConfig
    batch_size: int

    def write(self, shards: Sequence[tuple[int, int]], augment: AugmentConfig | None, progress: Progress) -> None:
        """Writes the `(view, shard)`s in turn, from one stream of contents."""
        plan, batches = self._plan(shards)
        rows = tf.data.Dataset.from_tensor_slices(batches)
        name = self.modality.name
        rows = load_contents(rows, self.source, self.modality, self.data, augment)
        rows = rows.map(
            lambda row: (row["index"], tf.cast(row[name], tf.float32), row[f"{name}_mask"], row[f"{name}_ok"])
        ).prefetch(2)
        parts: list[np.ndarray] = []
        lengths: list[int] = []
        unreadable: dict[str, str] = {}
        for (view, shard, count, ends), (number, values, mask, ok) in zip(plan, rows, strict=True):
            number, ok = number.numpy()[:count], ok.numpy()[:count]
            tokens, real = _encode(self.encode_fn, values, mask if self.modality.varies(self.data) else None)
            tokens = self._checked(tokens[:count], number, ok)
            if real is None:
                parts.append(tokens)
            else:
                real = real[:count] & ok[:, None]
                parts.append(tokens[real])
                lengths += real.sum(axis=1).tolist()
            unreadable.update(self._reasons(number[~ok]))
            if ends:
                notes = {"unreadable": unreadable, **({} if real is None else {"lengths": lengths})}
                path = shard_path(self.folder, view, shard)
                _write_aside(lengths_path(path), functools.partial(_dump, notes))
                _write_aside(path, functools.partial(_save, np.concatenate(parts)))
                parts, lengths, unreadable = [], [], {}
            progress.to(progress.done + count)

    def _plan(self, shards: Sequence[tuple[int, int]]) -> tuple[list["_Batch"], dict[str, np.ndarray]]:
        """The batches of these shards, and the rows of all of them."""
        flipped = np.load(self.folder / "flipped.npy")
        counts = self.source.counts(self.modality.name)
        owner, contents = np.repeat(np.arange(len(counts)), counts), int(counts.sum())
        plan = []
        rows: dict[str, list[np.ndarray]] = {"index": [], "seed": [], "flip": []}
        for view, shard in shards:
            first = shard * self.description["shard_rows"]
            last = min(first + self.description["shard_rows"], contents)
            seeds = _view_seeds(view, contents)
            for start in range(first, last, self.batch_size):
                stop = min(start + self.batch_size, last)
                # The encoder always sees a full batch: one shape is compiled, once.
                number = np.minimum(np.arange(start, start + self.batch_size), stop - 1)
                plan.append(_Batch(view, shard, stop - start, stop == last))
                rows["index"].append(number)
                rows["seed"].append(seeds[number])
                rows["flip"].append(flipped[owner[number], view])
        return plan, {name: np.stack(values) for name, values in rows.items()}

    def _checked(self, tokens: np.ndarray, number: np.ndarray, ok: np.ndarray) -> np.ndarray:
        """Tokens as they are stored: float16 without infinity, zeros for what cannot be read."""
        if not np.isfinite(tokens[ok].sum(dtype=np.float64)):
            names = self.source.names(self.modality.name)
            raise FeatureCacheError(
                f"The encoder gives values that are no finite numbers for some of the {self.modality.units} "
                f"{[names[i] for i in number[:3]]}...; check its weights and preprocessing."
            )
        limit = np.finfo(np.float16).max
        tokens = np.clip(tokens, -limit, limit).astype(np.float16)
        tokens[~ok] = 0
        return tokens

    def _reasons(self, numbers: np.ndarray) -> dict[str, str]:
        reasons, names = dict(self.source.quarantine.rows), self.source.names(self.modality.name)
        return {str(number): reasons.get(names[number], "unreadable") for number in numbers}


def _encode(encode_fn: Encode, values: tf.Tensor, mask: tf.Tensor | None) -> tuple[np.ndarray, np.ndarray | None]:
    """Tokens and, where the encoder gives one, their mask."""
    encoded = encode_fn(values) if mask is None else encode_fn(values, mask)
    tokens, real = encoded if isinstance(encoded, tuple) else (encoded, None)
    return np.asarray(tokens), None if real is None else np.asarray(real)


def _view_seeds(view: int, contents: int) -> np.ndarray:
    return np.random.default_rng([_VIEW_SEED, view, 0]).integers(2**31 - 1, size=(contents, 2), dtype=np.int32)


def _is_whole(path: Path, contents: int, token_shape: Sequence[int | None]) -> bool:
    length, width = token_shape
    try:
        found = np.load(path, mmap_mode="r").shape
        notes = json.loads(lengths_path(path).read_text(encoding="utf-8"))
        if length is not None:
            return found == (contents, length, width)
        return len(notes["lengths"]) == contents and found == (sum(notes["lengths"]), width)
    except (OSError, ValueError, KeyError):  # absent, or shorter than its header says
        return False


def _check_space(folder: Path, rows: int, token_shape: Sequence[int | None]) -> None:
    length, width = token_shape
    needed = 2 * rows * (length or 1) * (width or 1)  # at least, where contents have different numbers of tokens
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise FeatureCacheError(
            f"The feature cache needs {needed / 1e9:.1f} GB more in {folder}, where {free / 1e9:.1f} GB are free; make "
            "room, set `data.data_dir` to a larger disk, or lower `image_encoder.cache_views`."
        )


def _write_aside(path: Path, write: Callable[[IO[bytes]], object]) -> None:
    """A file is there whole or not at all: it is written beside its place, forced to the disk, and renamed."""
    part = path.with_name(f"{path.name}.part")
    try:
        with open(part, "wb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        part.unlink(missing_ok=True)
        raise FeatureCacheError(
            f"{path} cannot be written ({error}). What was finished before is kept: run again once there is room."
        ) from error
    os.replace(part, path)


def _save(array: np.ndarray, file: IO[bytes]) -> None:
    np.save(file, array)


def _dump(values: dict[str, Any], file: IO[bytes]) -> None:
    file.write(json.dumps(values, indent=1, ensure_ascii=False).encode("utf-8"))
