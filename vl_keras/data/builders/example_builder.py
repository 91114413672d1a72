"""The base class of all dataset builders: form of the examples, fingerprint of the input, list of skipped inputs."""

import hashlib
import json
import logging
import os
from collections.abc import Container, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import tensorflow_datasets as tfds
from tqdm import tqdm

from vl_keras.config import DataConfig
from vl_keras.data.builders.example import Example, example_features, image_problem
from vl_keras.errors import DataError
from vl_keras.progress import on_terminal, say

_log = logging.getLogger(__name__)
tfds.disable_progress_bar()  # its bars name temporary files; a builder shows one of its own


class _OwnInfo(tfds.core.DatasetInfo):  # type: ignore[misc]
    """Knows that no dataset of ours is in TFDS's bucket; asking there leaves a temporary folder behind each time."""

    def initialize_from_bucket(self) -> None:
        pass


class ExampleBuilder(tfds.core.GeneratorBasedBuilder, skip_registration=True):  # type: ignore[call-arg]
    """A TFDS builder of examples in the form of `example_features`; subclasses provide the examples.

    Unusable inputs are passed to `skip`, and saved as `skipped` in the prepared folder's `metadata.json`.

    Args:
        settings: the `data` section of the config.
        kwargs: arguments of `tfds.core.GeneratorBasedBuilder`, such as `data_dir` and `file_format`.
    """

    VERSION = tfds.core.Version("1.0.0")
    MISSING_SPLIT_ADVICE = "Name one of these in `data.train_split` or `data.dev_split`, or with --split."

    def __init__(self, *, settings: DataConfig, **kwargs: Any) -> None:
        self.settings = settings
        self._skipped: list[list[str]] = []  # split, name, reason
        self._notes: list[str] = []
        super().__init__(**kwargs)

    @classmethod
    def content_key(cls, settings: DataConfig) -> Any:
        """JSON value that changes whenever the prepared content would change: settings and input files.

        Raises:
            DataError: an input file is missing.
        """
        raise NotImplementedError

    @classmethod
    def content_modalities(cls, settings: DataConfig) -> tuple[str, ...]:
        """Names of the modalities that examples have any number of contents of; none: each has exactly one image."""
        return ()

    @classmethod
    def content_fingerprint(cls, settings: DataConfig) -> str:
        """Twelve hex digits that identify the builder, its version, settings and input files; they name its folder."""
        key = [cls.__name__, str(cls.VERSION), cls.content_key(settings)]
        return hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()[:12]

    @classmethod
    def download_dir(cls, settings: DataConfig) -> Path | None:
        """Folder for downloads; None for a dataset that downloads nothing."""
        return None

    def read_splits(self) -> dict[str, Iterator[Example]]:
        """Returns a dict from split name (train, dev, test) to an iterator of examples; called once, when preparing."""
        raise NotImplementedError

    def skip(self, split: str, name: str, reason: str) -> None:
        """Records an input of `split` (empty if it belongs to none) that cannot be used."""
        self._skipped.append([split, str(name), reason])

    def note(self, sentence: str) -> None:
        """Logs a sentence for the user of the data and saves it in `notes` of `metadata.json`."""
        self._notes.append(sentence)
        _log.warning(sentence)

    def has_images(self, split: str, names: Sequence[str] | dict[str, Any], images: Container[str]) -> bool:
        """Whether at least one of `names` is in `images`; if none is, a note says that the split is left out."""
        found = any(name in images for name in names)
        if not found:
            self.note(f"None of the {len(names)} images of split `{split}` is there, so the split is left out.")
        return found

    def _info(self) -> tfds.core.DatasetInfo:
        return _OwnInfo(
            builder=self,
            description=type(self).__doc__,
            features=example_features(self.content_modalities(self.settings)),
            metadata=tfds.core.MetadataDict(),
        )

    def _log_download_bytes(self) -> None:  # replaces TFDS's message, which speaks of a download even without one
        say(f"Preparing {self.name.removesuffix('_builder')}, once, in {self.data_dir}")

    def _log_download_done(self) -> None:
        pass

    def _split_generators(self, dl_manager: Any) -> dict[str, Iterator[tuple[str, Example]]]:
        return {split: self._generate_examples(split, examples) for split, examples in self.read_splits().items()}

    def _generate_examples(self, split: str, examples: Iterable[Example]) -> Iterator[tuple[str, Example]]:
        count = 0
        for example in tqdm(examples, split, unit=" examples", leave=False, disable=not on_terminal()):
            # Contents of an example that may have several are checked when they are read: a bad one costs itself.
            problem = image_problem(example["image"]) if "image" in example else ""
            if problem:
                self.skip(split, example["image_id"], problem)
                continue
            count += 1
            yield example["image_id"], example
        if not count:
            raise DataError(f"No example of split `{split}` can be used.{skipped_lines(self._skipped)}")
        self.info.metadata.update(skipped=self._skipped, notes=self._notes)


def input_stamp(path: Path) -> list[Any]:
    """`[name, bytes, modification time in ns]` of a file or folder, or `[name]` if it does not exist."""
    return [path.name, path.stat().st_size, path.stat().st_mtime_ns] if os.path.exists(path) else [path.name]


def skipped_lines(skipped: Sequence[Sequence[str]], count: int = 5) -> str:
    """Formats the first `count` of `[split, name, reason]` rows as indented lines for an error message."""
    more = [f"  and {len(skipped) - count} more"] if len(skipped) > count else []
    return "".join(f"\n{line}" for line in [f"  {name}: {reason}" for _, name, reason in skipped[:count]] + more)
