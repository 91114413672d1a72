"""Prepared examples with random access: the boundary between datasets and the pipeline."""

import fcntl
import functools
import hashlib
import io
import json
import logging
import os
from pathlib import Path

import numpy as np
import tensorflow as tf

from vl_keras.data.builders import BUILDERS
from vl_keras.data.builders.example_builder import skipped_lines
from vl_keras.data.quarantine import Quarantine
from vl_keras.data.records import RecordReader
from vl_keras.errors import DataError

_INDEX_VERSION = 1
_log = logging.getLogger(__name__)


class Source:
    """One split of a prepared dataset.

    Captions and names are in memory; images stay in the record files and are read by number.

    Args:
        split: name of the split.
        paths: its TFRecord files, in order.
        max_examples: keep only the first so many; 0 keeps all.
        quarantine: `Quarantine` to add damaged records to; a new one by default.
        notes: what the builder has to say about the data, as sentences.

    Attributes:
        fingerprint: hex digest of the content of all records, in order; the same wherever they were prepared.
        image_ids, captions, contexts: one entry an image, in record order; captions are lists of strings.
        objects: list an image of `{"label", "bbox"}`, the box ymin, xmin, ymax, xmax as shares of the image.
        questions, dialogues: list an image of `{"question", "answer"}`, questions with their `kind` as well.
        quarantine: what could not be used, the builder's skipped inputs included.
    """

    def __init__(self, split, paths, max_examples=0, quarantine=None, notes=()):
        self.split, self.notes = split, list(notes)
        self.quarantine = Quarantine() if quarantine is None else quarantine
        index, texts = _load_index(split, paths)
        if index is None:
            self._records = RecordReader(paths)
            spans, digests, texts = _read_texts(self._records)
            texts["damage"] = self._records.damage
            _save_index(split, paths, texts, records=self._records.index, spans=spans, digests=digests)
        else:
            self._records, spans = RecordReader(paths, index["records"]), index["spans"]
            digests = index["digests"]
        for name, reason in texts["damage"]:
            self.quarantine.add(name, reason)
        count = min(max_examples or len(spans), len(spans))
        self._records.index, self._spans = self._records.index[:count], spans[:count]
        self.image_ids, self.captions = texts["image_ids"][:count], texts["captions"][:count]
        self.contexts = texts["contexts"][:count]
        self.fingerprint = hashlib.sha256(digests[:count].tobytes()).hexdigest()[:16]

    def __len__(self):
        return len(self.image_ids)

    def read_images(self, indices):
        """The encoded images of these examples.

        Args:
            indices: `(n,)` integers.

        Returns:
            `(n,)` object array of bytes; `b""` for a record that is damaged, which is then in `quarantine`.
        """
        images = np.empty(len(indices), object)
        for row, index in enumerate(indices):
            record = self._records.read(index)
            if record is None:
                self.quarantine.add(self.image_ids[index], "the record is damaged (wrong checksum)")
                images[row] = b""
            else:
                start, end = self._spans[index]
                images[row] = record[start:end]
        return images

    @property
    def objects(self):
        return self._details["objects"]

    @property
    def questions(self):
        return self._details["questions"]

    @property
    def dialogues(self):
        return self._details["dialogues"]

    @functools.cached_property
    def _details(self):
        details = {"objects": [], "questions": [], "dialogues": []}
        for number in range(len(self)):
            features = _features(self._records.read(number) or b"")
            labels, boxes = _texts(features, "objects/label"), list(features["objects/bbox"].float_list.value)
            details["objects"].append(
                [{"label": label, "bbox": tuple(boxes[4 * i : 4 * i + 4])} for i, label in enumerate(labels)]
            )
            details["questions"].append(_rows(features, "questions", ("question", "answer", "kind")))
            details["dialogues"].append(_rows(features, "dialogue", ("question", "answer")))
        return details


def open_source(config, split, check=True):
    """The examples of one split; prepares the dataset with TFDS when it, its settings or its files are new.

    Args:
        config: `DataConfig`.
        split: train, dev or test.
        check: stop where the share of inputs that the builder skipped is above `config.max_bad_share`.

    Returns:
        `Source`.

    Raises:
        DataError: files of the dataset are missing, or it has no such split.
        QuarantineError: too many inputs cannot be used.
    """
    builder = prepare(config)
    metadata = builder.info.metadata or {}
    if split not in builder.info.splits:
        skipped = [row for row in metadata.get("skipped", ()) if row[0] == split]
        raise DataError(
            f"There is no split `{split}` in {_title(config)}; there are: {', '.join(builder.info.splits)}. "
            + (f"None of its images can be used:{skipped_lines(skipped)}" if skipped else builder.MISSING_SPLIT_ADVICE)
        )
    skipped = metadata.get("skipped", ())
    rows, of_no_split = ([(name, why) for part, name, why in skipped if part == wanted] for wanted in (split, ""))
    quarantine = Quarantine(rows, uncounted=of_no_split)
    info = builder.info.splits[split]
    source = Source(split, info.filepaths, config.max_examples, quarantine, metadata.get("notes", ()))
    if check:
        everything = sum(part.num_examples for part in builder.info.splits.values()) + len(skipped)
        Quarantine(of_no_split).check(everything, config.max_bad_share)
        quarantine.check(info.num_examples + len(quarantine.counted), config.max_bad_share)
    return source


def prepare(config):
    """Runs the dataset's TFDS builder unless its records are there already; returns the builder.

    The records lie in `data_dir/prepared/NAME-FINGERPRINT`, the fingerprint being that of the builder, its settings and
    its input files. Two processes that ask at the same time prepare once.
    """
    name = _builder_name(config)
    if name not in BUILDERS:
        raise DataError(f"`data.dataset` must be one of {', '.join(BUILDERS)}; got {name!r}.")
    builder_class = BUILDERS[name]
    data_dir = Path(config.data_dir).expanduser()
    folder = data_dir / "prepared" / f"{name}-{builder_class.content_fingerprint(config)}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with (folder / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            builder = builder_class(settings=config, data_dir=folder, file_format="tfrecord")
            builder.download_and_prepare(download_dir=builder_class.download_dir(config))
    except OSError as error:  # a full disk, a folder that cannot be written, a download that fails
        raise DataError(f"`{name}` cannot be prepared in `data.data_dir` ({data_dir}): {error}") from error
    return builder


def _builder_name(config):
    if config.manifest:
        return "image_text_pairs" if Path(config.manifest).suffix.lower() == ".tsv" else "manifest"
    return config.dataset


def _title(config):
    return f"the manifest `{config.manifest}`" if config.manifest else f"`{config.dataset}`"


def _features(record):
    return tf.train.Example.FromString(record).features.feature


def _texts(features, key):
    return [value.decode("utf-8", "replace") for value in features[key].bytes_list.value]


def _rows(features, key, names):
    columns = [_texts(features, f"{key}/{name}") for name in names]
    return [dict(zip(names, values, strict=True)) for values in zip(*columns, strict=True)]


def _read_texts(records):
    """Where each record's image lies in it, `(n, 2)` start and end; digests; names, captions and contexts.

    The digest is of the content: the bytes of equal records differ in the order of their features.
    """
    spans, digests = np.zeros((len(records), 2), np.int64), np.zeros((len(records), 16), np.uint8)
    texts = {"image_ids": [], "captions": [], "contexts": []}
    for number in range(len(records)):
        record = records.read(number)
        example = tf.train.Example.FromString(record)
        content = example.SerializeToString(deterministic=True)
        digests[number] = np.frombuffer(hashlib.sha256(content).digest()[:16], np.uint8)
        features = example.features.feature
        image = features["image"].bytes_list.value[0]
        start = record.find(image)  # stored as it is; equal bytes elsewhere in the record would serve as well
        spans[number] = start, start + len(image)
        texts["image_ids"].append(_texts(features, "image_id")[0])
        texts["captions"].append(_texts(features, "captions"))
        texts["contexts"].append((_texts(features, "context") or [""])[0])
    return spans, digests, texts


def _index_path(split, paths):
    return Path(paths[0]).parent / f"index-{split}.npz"


def _stamp(paths):
    stats = [os.stat(path) for path in paths]
    return [_INDEX_VERSION, *([stat.st_size, stat.st_mtime_ns] for stat in stats)]


def _load_index(split, paths):
    try:
        with np.load(_index_path(split, paths)) as file:
            texts = json.loads(file["texts"].tobytes())
            if texts["stamp"] == _stamp(paths):
                return {name: file[name] for name in ("records", "spans", "digests")}, texts
    except FileNotFoundError:
        pass
    except Exception as error:  # an index is only a shortcut: one that cannot be read is made anew
        _log.warning("The index %s cannot be read (%s) and is made anew.", _index_path(split, paths), error)
    return None, None


def _save_index(split, paths, texts, **arrays):
    path = _index_path(split, paths)
    content = np.frombuffer(json.dumps({**texts, "stamp": _stamp(paths)}, ensure_ascii=False).encode(), np.uint8)
    file = io.BytesIO()
    np.savez(file, texts=content, **arrays)
    partial = path.with_name(f"{path.name}.{os.getpid()}")
    try:
        partial.write_bytes(file.getvalue())
        os.replace(partial, path)
    except OSError as error:  # a read-only or full disk: the next start scans again
        _log.warning("The index %s cannot be kept: %s", path, error)
        partial.unlink(missing_ok=True)
