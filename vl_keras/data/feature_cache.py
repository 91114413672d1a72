"""A frozen encoder's image tokens, written once and read many times at memory speed."""

import dataclasses
import fcntl
import json
import os
import shutil
from pathlib import Path

import numpy as np
import tensorflow as tf
from tqdm import tqdm

from vl_keras.data.image_batches import check_quarantine, load_images
from vl_keras.errors import FeatureCacheError

_FORMAT = 1
_SHARD_BYTES, _SHARD_IMAGES = 2**26, 1024  # at most, of a shard: a kill costs little, and few files are open
_VIEW_SEED = 20160  # of the augmented views; fixed, so that runs with other seeds share a cache
_IMAGE_AUGMENTS = ("crop_min_area", "flip", "rotation", "color")


class FeatureCache:
    """Image tokens of every image of a source, in `views` versions: the plain image, then augmented ones.

    On disk: `cache.json` (what the tokens were made from), `flipped.npy`, and for each view float16 shards
    `view-0-00000.npy` of shape (rows, R, D), each with a `.json` that lists its unreadable images. Made by
    `build_or_open`.

    Attributes:
        views: versions of each image; view 0 is the plain one.
        token_shape: `(R, D)`.
        flipped: `(images, views)` bool: mirrored, so that "left" and "right" in captions must be swapped.
        readable: `(images,)` bool; the tokens of the others are zeros.
    """

    def __init__(self, folder, description):
        self.folder = Path(folder)
        self.views = description["key"]["views"]
        self.token_shape = tuple(description["token_shape"])
        self._images = description["key"]["images"]
        self._shard_rows = description["shard_rows"]
        self.flipped = np.load(self.folder / "flipped.npy")
        self.readable = np.ones(self._images, bool)
        self.unreadable = {}  # image index -> reason
        self._shards = []
        for view in range(self.views):
            for shard in range(-(-self._images // self._shard_rows)):
                path = _shard_path(self.folder, view, shard)
                self._shards.append(np.load(path, mmap_mode="r"))
                self.unreadable.update(json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))["unreadable"])
        self.unreadable = {int(index): reason for index, reason in self.unreadable.items()}
        self.readable[list(self.unreadable)] = False

    @classmethod
    def build_or_open(cls, folder, source, encode_fn, fingerprint, data, views=1, batch_size=32):
        """Opens the cache in `folder`, first writing what is not there yet.

        A build that was stopped, by whatever means, goes on with the shards it had not finished. Two processes that
        build the same folder take turns. Images that cannot be read go to `source.quarantine`.

        Args:
            folder: of this one cache; made where absent.
            source: a `Source`.
            encode_fn: `(batch_size, height, width, 3)` float32 of 0..255 -> `(batch_size, R, D)`; a row must not depend
                on its neighbours.
            fingerprint: string that changes with the encoder's architecture, weights and preprocessing.
            data: `DataConfig`: `image_size`, `augment`, `max_pixels`, `max_bad_share`.
            views: versions of each image; 1 is the plain one alone.
            batch_size: images encoded at once.

        Raises:
            FeatureCacheError: the folder holds another encoder's or other images' tokens, the disk is full, or the
                encoder gives values that are no numbers.
            QuarantineError: more images than `data.max_bad_share` cannot be read.
        """
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        key = _cache_key(source, fingerprint, data, views)
        with open(folder / "lock", "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)  # the system releases it when a process dies
            description = _read_description(folder, key)
            if description is None:
                description = _start(folder, key, encode_fn, data, batch_size)
            cls._write_missing(folder, description, source, encode_fn, data, batch_size)
        try:
            cache = cls(folder, description)
        except (OSError, ValueError, KeyError) as error:
            raise FeatureCacheError(f"The feature cache {folder} is damaged ({error}); delete it.") from error
        for index, reason in cache.unreadable.items():
            source.quarantine.add(source.image_ids[index], reason)
        check_quarantine(source, data.max_bad_share)
        return cache

    def read(self, indices, views):
        """Tokens of images.

        Args:
            indices: `(n,)` image indices.
            views: `(n,)` view of each, or one for all.

        Returns:
            `(n, R, D)` float16; zeros for an image that could not be read.
        """
        indices = np.asarray(indices)
        views = np.broadcast_to(views, indices.shape)
        shards = views * -(-self._images // self._shard_rows) + indices // self._shard_rows
        rows = indices % self._shard_rows
        tokens = np.empty((len(indices), *self.token_shape), np.float16)
        for place, (shard, row) in enumerate(zip(shards.tolist(), rows.tolist(), strict=True)):
            tokens[place] = self._shards[shard][row]
        return tokens

    def read_with_faults(self, indices, views):
        """`read`, and `(n,)` bool: False for an image that could not be read."""
        return self.read(indices, views), self.readable[indices]

    @staticmethod
    def _write_missing(folder, description, source, encode_fn, data, batch_size):
        for part in folder.glob("*.part"):  # of a build that was killed
            part.unlink()
        rows, images = description["shard_rows"], len(source)
        shapes = {shard: min(rows, images - shard * rows) for shard in range(-(-images // rows))}
        missing = [
            (view, shard)
            for view in range(description["key"]["views"])
            for shard, size in shapes.items()
            if not _is_whole(_shard_path(folder, view, shard), (size, *description["token_shape"]))
        ]
        if not missing:
            return
        _check_space(folder, sum(shapes[shard] for _, shard in missing), description["token_shape"])
        wanted = sum(shapes[shard] for _, shard in missing)
        total = images * description["key"]["views"]
        with tqdm(total=total, initial=total - wanted, unit="image", desc="encoding images") as progress:
            for augment in (None, data.augment):
                shards = [(view, shard) for view, shard in missing if (view > 0) == (augment is not None)]
                if shards:
                    _write_shards(folder, description, shards, source, encode_fn, data, augment, batch_size, progress)


def _write_shards(folder, description, shards, source, encode_fn, data, augment, batch_size, progress):
    """Writes the `(view, shard)`s in turn, from one stream of images."""
    flipped = np.load(folder / "flipped.npy")
    plan = []  # of each batch: view, shard, rows that count, whether it ends the shard
    rows = {"index": [], "seed": [], "flip": []}
    for view, shard in shards:
        first = shard * description["shard_rows"]
        last = min(first + description["shard_rows"], len(source))
        seeds = _view_seeds(view, len(source))
        for start in range(first, last, batch_size):
            stop = min(start + batch_size, last)
            # The encoder always sees a full batch: one shape is compiled, once.
            index = np.minimum(np.arange(start, start + batch_size), stop - 1)
            plan.append((view, shard, stop - start, stop == last))
            rows["index"].append(index)
            rows["seed"].append(seeds[index])
            rows["flip"].append(flipped[index, view])
    dataset = tf.data.Dataset.from_tensor_slices({name: np.stack(values) for name, values in rows.items()})
    dataset = load_images(dataset, source, data, augment)
    dataset = dataset.map(lambda row: (row["index"], tf.cast(row["image"], tf.float32), row["image_ok"])).prefetch(2)

    tokens, unreadable = [], {}
    for (view, shard, count, ends), (index, image, ok) in zip(plan, dataset, strict=True):
        encoded = np.asarray(encode_fn(image))[:count]
        index, ok = index.numpy()[:count], ok.numpy()[:count]
        if not np.isfinite(encoded[ok].sum(dtype=np.float64)):
            raise FeatureCacheError(
                f"The encoder gives values that are no finite numbers for some of the images "
                f"{[source.image_ids[i] for i in index[:3]]}...; check its weights and preprocessing."
            )
        limit = np.finfo(np.float16).max
        encoded = np.clip(encoded, -limit, limit).astype(np.float16)
        encoded[~ok] = 0
        reasons = dict(source.quarantine.rows)
        unreadable.update({str(i): reasons.get(source.image_ids[i], "unreadable") for i in index[~ok]})
        tokens.append(encoded)
        if ends:
            path = _shard_path(folder, view, shard)
            _write_aside(path.with_suffix(".json"), lambda file, rows=unreadable: _dump({"unreadable": rows}, file))
            _write_aside(path, lambda file, parts=tokens: np.save(file, np.concatenate(parts)))
            tokens, unreadable = [], {}
        progress.update(count)


def _cache_key(source, fingerprint, data, views):
    augment = dataclasses.asdict(data.augment)
    return {
        "format": _FORMAT,
        "encoder": fingerprint,
        "image_size": list(data.image_size),
        "views": views,
        "augment": {name: augment[name] for name in _IMAGE_AUGMENTS} if views > 1 else None,
        "split": source.split,
        "source": source.fingerprint,
        "images": len(source),
    }


def _read_description(folder, key):
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


def _start(folder, key, encode_fn, data, batch_size):
    """Writes what describes a cache; the encoder's own answer to one blank batch tells the shape."""
    blank = tf.zeros((batch_size, *data.image_size, 3))
    shape = np.asarray(encode_fn(blank)).shape
    if len(shape) != 3 or shape[0] != batch_size:
        raise FeatureCacheError(f"`encode_fn` must give ({batch_size}, R, D) for {batch_size} images; it gave {shape}.")
    row_bytes = 2 * shape[1] * shape[2]
    shard_rows = max(1, min(_SHARD_BYTES // row_bytes, _SHARD_IMAGES) // batch_size) * batch_size
    flipped = np.zeros((key["images"], key["views"]), bool)
    for view in range(1, key["views"]):
        flipped[:, view] = (
            np.random.default_rng([_VIEW_SEED, view, 1]).random(key["images"]) < 0.5
        ) & data.augment.flip
    _write_aside(folder / "flipped.npy", lambda file: np.save(file, flipped))
    description = {"key": key, "token_shape": list(shape[1:]), "shard_rows": shard_rows}
    _write_aside(folder / "cache.json", lambda file: _dump(description, file))
    return description


def _view_seeds(view, images):
    return np.random.default_rng([_VIEW_SEED, view, 0]).integers(2**31 - 1, size=(images, 2), dtype=np.int32)


def _shard_path(folder, view, shard):
    return folder / f"view-{view}-{shard:05d}.npy"


def _is_whole(path, shape):
    try:
        return np.load(path, mmap_mode="r").shape == shape and path.with_suffix(".json").exists()
    except (OSError, ValueError):  # absent, or shorter than its header says
        return False


def _check_space(folder, rows, token_shape):
    needed = 2 * rows * token_shape[0] * token_shape[1]
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise FeatureCacheError(
            f"The feature cache needs {needed / 1e9:.1f} GB more in {folder}, where {free / 1e9:.1f} GB are free; make "
            "room, set `data.data_dir` to a larger disk, or lower `image_encoder.cache_views`."
        )


def _write_aside(path, write):
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


def _dump(values, file):
    file.write(json.dumps(values, indent=1, ensure_ascii=False).encode("utf-8"))
