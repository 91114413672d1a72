"""Prepared examples with random access: the boundary between datasets and the pipeline."""

import functools
import hashlib
import io
import json
import logging
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from vl_keras.config import DataConfig
from vl_keras.data.builders import BUILDERS
from vl_keras.data.builders.example import CONTENTS
from vl_keras.data.builders.example_builder import ExampleBuilder, skipped_lines
from vl_keras.data.examples import Examples, first_numbers
from vl_keras.data.quarantine import Quarantine
from vl_keras.data.records import RecordReader
from vl_keras.errors import DataError
from vl_keras.files import locked

_INDEX_VERSION = 1
_log = logging.getLogger(__name__)


class Source(Examples):
    """One split of a prepared dataset.

    Captions and names are in memory; images, and contents of other modalities, stay in the record files and are read by
    number.

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
        modalities: names of what the records hold contents of.
        quarantine: what could not be used, the builder's skipped inputs included.
    """

    def __init__(
        self,
        split: str,
        paths: Sequence[str | Path],
        max_examples: int = 0,
        quarantine: Quarantine | None = None,
        notes: Iterable[str] = (),
    ) -> None:
        self.split, self.notes = split, list(notes)
        self.quarantine = Quarantine() if quarantine is None else quarantine
        index, texts = _load_index(split, paths)
        if index is None:
            self._records = RecordReader(paths)
            index, texts = _read_texts(self._records)
            texts["damage"] = self._records.damage
            _save_index(split, paths, texts, records=self._records.index, **index)
        else:
            self._records = RecordReader(paths, index["records"])
        for name, reason in texts["damage"]:
            self.quarantine.add(name, reason)
        count = min(max_examples or len(self._records), len(self._records))
        self._records.index = self._records.index[:count]
        self.image_ids, self.captions = texts["image_ids"][:count], texts["captions"][:count]
        self.contexts = texts["contexts"][:count]
        self.fingerprint = hashlib.sha256(index["digests"][:count].tobytes()).hexdigest()[:16]
        self._contents = _contents(index, count)
        self.modalities = tuple(self._contents)

    def counts(self, modality: str) -> np.ndarray:
        return self._contents[modality].counts if modality in self._contents else super().counts("")

    def names(self, modality: str) -> Sequence[str]:
        return self._names.get(modality, [])

    @functools.cached_property
    def _names(self) -> dict[str, list[str]]:
        """An example's only content has the name of the example."""
        totals = np.sum([contents.counts for contents in self._contents.values()], axis=0)
        if (totals == 1).all() and len(self._contents) == 1:
            return dict.fromkeys(self._contents, self.image_ids)
        return {
            modality: [
                self.image_ids[owner] if totals[owner] == 1 else f"{self.image_ids[owner]} ({modality} {place})"
                for owner, place in zip(contents.owners.tolist(), contents.places.tolist(), strict=True)
            ]
            for modality, contents in self._contents.items()
        }

    def read(self, modality: str, numbers: Sequence[int] | np.ndarray) -> np.ndarray:
        contents, found = self._contents[modality], np.empty(len(numbers), object)
        for row, number in enumerate(numbers):
            owner = contents.owners[number]
            record = self._records.read(owner)
            if record is None:
                self.quarantine.add(self.names(modality)[number], "the record is damaged (wrong checksum)")
                found[row] = b""
            else:
                start, end = contents.spans[number]
                found[row] = record[start:end]
        return found

    @property
    def objects(self) -> list[list[dict[str, Any]]]:
        return self._details["objects"]

    @property
    def questions(self) -> list[list[dict[str, str]]]:
        return self._details["questions"]

    @property
    def dialogues(self) -> list[list[dict[str, str]]]:
        return self._details["dialogues"]

    @functools.cached_property
    def _details(self) -> dict[str, list]:
        details: dict[str, list] = {"objects": [], "questions": [], "dialogues": []}
        for number in range(len(self)):
            features = _features(self._records.read(number) or b"")
            labels, boxes = _texts(features, "objects/label"), list(features["objects/bbox"].float_list.value)
            details["objects"].append(
                [{"label": label, "bbox": tuple(boxes[4 * i : 4 * i + 4])} for i, label in enumerate(labels)]
            )
            details["questions"].append(_rows(features, "questions", ("question", "answer", "kind")))
            details["dialogues"].append(_rows(features, "dialogue", ("question", "answer")))
        return details


def open_source(config: DataConfig, split: str, check: bool = True) -> Source:
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


def prepare(config: DataConfig) -> ExampleBuilder:
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
        with locked(folder / "lock"):  # where it may only be read, it must be prepared already
            builder = builder_class(settings=config, data_dir=folder, file_format="tfrecord")
            builder.download_and_prepare(download_dir=builder_class.download_dir(config))
    except OSError as error:  # a full disk, a folder that cannot be written, a download that fails
        raise DataError(f"`{name}` cannot be prepared in `data.data_dir` ({data_dir}): {error}") from error
    return builder


def _builder_name(config: DataConfig) -> str:
    if config.manifest:
        return "image_text_pairs" if Path(config.manifest).suffix.lower() == ".tsv" else "manifest"
    return config.dataset


def _title(config: DataConfig) -> str:
    return f"the manifest `{config.manifest}`" if config.manifest else f"`{config.dataset}`"


def _features(record: bytes) -> Mapping[str, Any]:
    return tf.train.Example.FromString(record).features.feature


def _texts(features: Mapping[str, Any], key: str) -> list[str]:
    return [value.decode("utf-8", "replace") for value in features[key].bytes_list.value]


def _rows(features: Mapping[str, Any], key: str, names: Sequence[str]) -> list[dict[str, str]]:
    columns = [_texts(features, f"{key}/{name}") for name in names]
    return [dict(zip(names, values, strict=True)) for values in zip(*columns, strict=True)]


class _Contents(NamedTuple):
    """Where the contents of a modality lie.

    Attributes:
        spans: `(contents, 2)` start and end of each in its record.
        counts: `(examples,)` contents of each example.
        owners, places: `(contents,)` example of each content, and its place there, from 1.
    """

    spans: np.ndarray
    counts: np.ndarray
    owners: np.ndarray
    places: np.ndarray


def _contents(index: Mapping[str, np.ndarray], examples: int) -> dict[str, _Contents]:
    """Dict of modality -> `_Contents` of the first so many examples."""
    found = {}
    for key in index:
        kind, _, modality = key.partition("-")
        if kind != "spans":
            continue
        spans = index[key]
        counts = index[f"counts-{modality}"] if modality else np.ones(len(spans), np.int64)
        counts = counts[:examples]
        owners = np.repeat(np.arange(examples), counts)
        places = np.arange(len(owners)) - np.repeat(first_numbers(counts), counts) + 1
        found[modality or "image"] = _Contents(spans[: len(owners)], counts, owners, places)
    return found


def _read_texts(records: RecordReader) -> tuple[dict[str, np.ndarray], dict[str, list]]:
    """What the index of records holds: arrays, and names, captions and contexts.

    The arrays: "digests" of the content (the bytes of equal records differ in the order of their features); and where
    the contents lie in their records. Records of one image each have "spans" `(examples, 2)`, start and end. Others
    have, of each modality, "spans-<name>" `(contents, 2)` and "counts-<name>" `(examples,)`.
    """
    digests = np.zeros((len(records), 16), np.uint8)
    spans: dict[str, list[tuple[int, int]]] = {}
    counts: dict[str, list[int]] = {}
    texts: dict[str, list] = {"image_ids": [], "captions": [], "contexts": []}
    for number in range(len(records)):
        record = records.read(number) or b""
        example = tf.train.Example.FromString(record)
        content = example.SerializeToString(deterministic=True)
        digests[number] = np.frombuffer(hashlib.sha256(content).digest()[:16], np.uint8)
        features = example.features.feature
        for key in [key for key in features if key == "image" or key.startswith(CONTENTS)]:
            values = features[key].bytes_list.value
            counts.setdefault(key, []).append(len(values))
            for value in values:
                start = record.find(value)  # stored as it is; equal bytes elsewhere in the record would serve as well
                spans.setdefault(key, []).append((start, start + len(value)))
        texts["image_ids"].append(_texts(features, "image_id")[0])
        texts["captions"].append(_texts(features, "captions"))
        texts["contexts"].append((_texts(features, "context") or [""])[0])
    arrays: dict[str, np.ndarray] = {"digests": digests}
    for key in sorted(counts) or ("image",):  # features have no order of their own
        name = key.removeprefix(CONTENTS) if key != "image" else ""
        arrays[f"spans-{name}" if name else "spans"] = np.array(spans.get(key, ()), np.int64).reshape(-1, 2)
        if name:
            arrays[f"counts-{name}"] = np.array(counts[key], np.int64)
    return arrays, texts


def _index_path(split: str, paths: Sequence[str | Path]) -> Path:
    return Path(paths[0]).parent / f"index-{split}.npz"


def _stamp(paths: Sequence[str | Path]) -> list[Any]:
    stats = [os.stat(path) for path in paths]
    return [_INDEX_VERSION, *([stat.st_size, stat.st_mtime_ns] for stat in stats)]


def _load_index(split: str, paths: Sequence[str | Path]) -> tuple[dict[str, np.ndarray] | None, dict[str, list]]:
    try:
        with np.load(_index_path(split, paths)) as file:
            texts = json.loads(file["texts"].tobytes())
            if texts["stamp"] == _stamp(paths):
                return {name: file[name] for name in file.files if name != "texts"}, texts
    except FileNotFoundError:
        pass
    except Exception as error:  # an index is only a shortcut: one that cannot be read is made anew
        _log.warning("The index %s cannot be read (%s) and is made anew.", _index_path(split, paths), error)
    return None, {}


def _save_index(split: str, paths: Sequence[str | Path], texts: dict[str, list], **arrays: np.ndarray) -> None:
    path = _index_path(split, paths)
    content = np.frombuffer(json.dumps({**texts, "stamp": _stamp(paths)}, ensure_ascii=False).encode(), np.uint8)
    file = io.BytesIO()
    np.savez(file, **{"texts": content, **arrays})  # type: ignore[arg-type]  # numpy's type forgets the arrays
    partial = path.with_name(f"{path.name}.{os.getpid()}")
    try:
        partial.write_bytes(file.getvalue())
        os.replace(partial, path)
    except OSError as error:  # a read-only or full disk: the next start scans again
        _log.warning("The index %s cannot be kept: %s", path, error)
        partial.unlink(missing_ok=True)
