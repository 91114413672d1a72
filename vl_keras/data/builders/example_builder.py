"""What all dataset builders share: one example form, a key of their input, and a list of what they skipped."""

import hashlib
import json
import logging
import os
import sys

import tensorflow_datasets as tfds
from tqdm import tqdm

from vl_keras.data.builders.example import example_features, image_problem
from vl_keras.errors import DataError

_log = logging.getLogger(__name__)
tfds.disable_progress_bar()  # its bars name temporary files; a builder shows one of its own


class ExampleBuilder(tfds.core.GeneratorBasedBuilder, skip_registration=True):  # type: ignore[call-arg]
    """A TFDS builder of `example_features` examples; subclasses say where the examples come from.

    What cannot be used is passed to `skip`, and saved as `skipped` in the prepared folder's `metadata.json`.

    Args:
        settings: `DataConfig`.
        kwargs: those of `tfds.core.GeneratorBasedBuilder`, such as `data_dir` and `file_format`.
    """

    VERSION = tfds.core.Version("1.0.0")
    MISSING_SPLIT_ADVICE = "Name one of these in `data.train_split` or `data.dev_split`, or with --split."

    def __init__(self, *, settings, **kwargs):
        self.settings = settings
        self._skipped, self._notes = [], []
        super().__init__(**kwargs)

    @classmethod
    def content_key(cls, settings):
        """JSON-able value that changes whenever the prepared content would: settings and input files.

        Raises:
            DataError: an input file is missing.
        """
        raise NotImplementedError

    @classmethod
    def content_fingerprint(cls, settings):
        """Twelve hex digits that name the prepared folder of this builder, its version, settings and input files."""
        key = [cls.__name__, str(cls.VERSION), cls.content_key(settings)]
        return hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()[:12]

    @classmethod
    def download_dir(cls, settings):
        """Folder that downloads go to; None where the dataset downloads nothing."""
        return None

    def read_splits(self):
        """Dict from split name (train, dev, test) to an iterator of examples; called once, when preparing."""
        raise NotImplementedError

    def skip(self, split, name, reason):
        """Notes an input of `split` (empty where it belongs to none) that cannot be used."""
        self._skipped.append([split, str(name), reason])

    def note(self, sentence):
        """Keeps a sentence that the user of the data should see, as `notes` in `metadata.json`, and logs it."""
        self._notes.append(sentence)
        _log.warning(sentence)

    def has_images(self, split, names, images):
        """Whether at least one of `names` is in `images`; where none is, the split is left out with a note."""
        found = any(name in images for name in names)
        if not found:
            self.note(f"None of the {len(names)} images of split `{split}` is there, so the split is left out.")
        return found

    def _info(self):
        return tfds.core.DatasetInfo(
            builder=self,
            description=type(self).__doc__,
            features=example_features(),
            metadata=tfds.core.MetadataDict(),
        )

    def _log_download_bytes(self):  # TFDS's own words speak of a download, and mostly there is none
        print(f"Preparing {self.name.removesuffix('_builder')}, once, in {self.data_dir}", file=sys.stderr)

    def _log_download_done(self):
        pass

    def _split_generators(self, dl_manager):
        return {split: self._generate_examples(split, examples) for split, examples in self.read_splits().items()}

    def _generate_examples(self, split, examples):
        count = 0
        for example in tqdm(examples, split, unit=" examples", leave=False, disable=not sys.stderr.isatty()):
            problem = image_problem(example["image"])
            if problem:
                self.skip(split, example["image_id"], problem)
                continue
            count += 1
            yield example["image_id"], example
        if not count:
            raise DataError(f"No example of split `{split}` can be used.{skipped_lines(self._skipped)}")
        self.info.metadata.update(skipped=self._skipped, notes=self._notes)


def input_stamp(path):
    """`[name, bytes, modification time in ns]` of a file or folder, or `[name]` where it is absent."""
    return [path.name, path.stat().st_size, path.stat().st_mtime_ns] if os.path.exists(path) else [path.name]


def skipped_lines(skipped, count=5):
    """The first `count` of `[split, name, reason]` rows as indented lines for an error message."""
    more = [f"  and {len(skipped) - count} more"] if len(skipped) > count else []
    return "".join(f"\n{line}" for line in [f"  {name}: {reason}" for _, name, reason in skipped[:count]] + more)
