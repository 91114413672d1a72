"""TFDS's own `coco_captions`, which downloads COCO 2014 with Karpathy's splits, in our example form."""

import functools
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import tensorflow_datasets as tfds

from vl_keras.config import DataConfig
from vl_keras.data.builders.caption_files import KARPATHY_SPLITS
from vl_keras.data.builders.example import Example, make_example
from vl_keras.data.builders.example_builder import ExampleBuilder
from vl_keras.errors import DataError


class CocoCaptionsBuilder(ExampleBuilder):
    """COCO 2014 as TFDS's `coco_captions` downloads and reads it (about 38 GB), with its boxes.

    Downloads go to `data.manual_dir`, or to `downloads` in `data.data_dir`. An existing download folder of TFDS, such
    as `~/tensorflow_datasets/downloads`, can be used as it is. Karpathy's "restval" images are training images.
    """

    @classmethod
    def content_key(cls, settings: DataConfig) -> Any:
        return [str(_tfds_class().BUILDER_CONFIGS[0].version)]

    @classmethod
    def download_dir(cls, settings: DataConfig) -> Path:
        return Path(settings.manual_dir or Path(settings.data_dir) / "downloads").expanduser()

    def _make_download_manager(self, download_dir: Any, download_config: Any) -> Any:
        return self._reader._make_download_manager(download_dir, download_config)  # TFDS's builder has the checksums

    @functools.cached_property
    def _reader(self) -> Any:
        # TFDS's builder only reads the files; we do not let it write records, so it needs no data_dir of its own.
        return _tfds_class()(data_dir=tempfile.gettempdir())

    def _split_generators(self, dl_manager: Any) -> dict[str, Iterator[tuple[str, Example]]]:
        splits: dict[str, list[Any]] = {}
        for generator in self._reader._split_generators(dl_manager):
            name = str(generator.name)
            if name not in KARPATHY_SPLITS:
                raise DataError(f"TFDS's coco_captions has a split `{name}` that is not one of Karpathy's.")
            rows = self._reader._generate_examples(**generator.gen_kwargs)
            splits.setdefault(KARPATHY_SPLITS[name], []).append(rows)
        return {split: self._generate_examples(split, _convert(parts)) for split, parts in splits.items()}


def _convert(parts: Iterable[Iterable[tuple[Any, Example]]]) -> Iterator[Example]:
    """Converts TFDS's `(key, example)` rows to examples in our form."""
    for rows in parts:
        for _, row in rows:
            yield make_example(
                image=Path(row["image"]).read_bytes(),
                image_id=str(row["image/id"]),
                captions=[caption["text"].strip() for caption in row["captions"]],
                objects=[{"label": item["label"], "bbox": item["bbox"]} for item in row["objects"]],
            )


def _tfds_class() -> type[tfds.core.GeneratorBasedBuilder]:
    # Imported only when needed: the import registers this builder and others with TFDS.
    from tensorflow_datasets.object_detection.coco_captions import CocoCaptions

    return CocoCaptions
