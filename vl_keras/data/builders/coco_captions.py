"""TFDS's own `coco_captions`, which downloads COCO 2014 with Karpathy's splits, in our example form."""

import functools
import tempfile
from pathlib import Path

from vl_keras.data.builders.caption_files import KARPATHY_SPLITS
from vl_keras.data.builders.example import make_example
from vl_keras.data.builders.example_builder import ExampleBuilder
from vl_keras.errors import DataError


class CocoCaptionsBuilder(ExampleBuilder):
    """COCO 2014 as TFDS's `coco_captions` downloads and reads it (about 38 GB), with its boxes.

    Downloads go to `data.manual_dir`, or to `downloads` in `data.data_dir`; a folder that TFDS downloaded to before
    (such as `~/tensorflow_datasets/downloads`) is used as it is. Karpathy's "restval" images are training images.
    """

    @classmethod
    def content_key(cls, settings):
        return [str(_tfds_class().BUILDER_CONFIGS[0].version)]

    @classmethod
    def download_dir(cls, settings):
        return Path(settings.manual_dir or Path(settings.data_dir) / "downloads").expanduser()

    def _make_download_manager(self, download_dir, download_config):
        return self._reader._make_download_manager(download_dir, download_config)  # it knows the checksums

    @functools.cached_property
    def _reader(self):
        # TFDS's builder reads the files; its own records, which it would write to data_dir, are not asked for.
        return _tfds_class()(data_dir=tempfile.gettempdir())

    def _split_generators(self, dl_manager):
        splits = {}
        for generator in self._reader._split_generators(dl_manager):
            name = str(generator.name)
            if name not in KARPATHY_SPLITS:
                raise DataError(f"TFDS's coco_captions has a split `{name}` that is not one of Karpathy's.")
            rows = self._reader._generate_examples(**generator.gen_kwargs)
            splits.setdefault(KARPATHY_SPLITS[name], []).append(rows)
        return {split: self._generate_examples(split, _convert(parts)) for split, parts in splits.items()}


def _convert(parts):
    """Examples in our form from TFDS's `(key, example)` rows."""
    for rows in parts:
        for _, row in rows:
            yield make_example(
                image=Path(row["image"]).read_bytes(),
                image_id=str(row["image/id"]),
                captions=[caption["text"].strip() for caption in row["captions"]],
                objects=[{"label": item["label"], "bbox": item["bbox"]} for item in row["objects"]],
            )


def _tfds_class():
    # Imported only when asked for: it registers itself, and others, with TFDS.
    from tensorflow_datasets.object_detection.coco_captions import CocoCaptions

    return CocoCaptions
