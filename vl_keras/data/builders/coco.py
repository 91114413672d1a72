"""COCO captions: 123,000 photos with five captions each (Chen et al., 2015)."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from vl_keras.config import DataConfig
from vl_keras.data.builders.caption_files import ImageCaptions, read_json, read_karpathy
from vl_keras.data.builders.example import Example, make_example
from vl_keras.data.builders.example_builder import ExampleBuilder, input_stamp
from vl_keras.data.builders.manual_files import ManualFiles, folders_or_zips, manual_folder, read_images
from vl_keras.errors import DataError

KARPATHY = "dataset_coco.json"
YEARS = ("2017", "2014")
_OFFICIAL = {"train": "train", "val": "dev"}  # test captions were never published
_WANTED = "annotations/captions_train2017.json, annotations/captions_val2017.json, train2017/ and val2017/ (or 2014)"


class CocoBuilder(ExampleBuilder):
    """COCO from `data.manual_dir`: the image folders or zips, and the captions.

    Captions and splits come from Karpathy's `dataset_coco.json` (2014 images) if it exists, else from the official
    `captions_train*.json` (train) and `captions_val*.json` (dev) of 2017 or, failing that, of 2014. Image ids are
    COCO's numbers.
    """

    MISSING_SPLIT_ADVICE = (
        f"COCO's official captions have train and dev; test comes with Karpathy's {KARPATHY} in `data.manual_dir`."
    )

    @classmethod
    def content_key(cls, settings: DataConfig) -> Any:
        folder, texts, images = _open(settings)
        return [images.stamp(), [[split, input_stamp(path)] for split, path in texts.items()]]

    def read_splits(self) -> dict[str, Iterator[Example]]:
        _, texts, images = _open(self.settings)
        if "all" in texts:
            splits = read_karpathy(texts["all"].read_bytes(), texts["all"], key="cocoid")
        else:
            splits = {split: self._official(split, path) for split, path in texts.items()}
        return {
            split: self._examples(split, rows, images)
            for split, rows in splits.items()
            if self.has_images(split, rows, images)
        }

    def _official(self, split: str, path: Path) -> ImageCaptions:
        parsed = read_json(path.read_bytes(), path)
        try:
            names = {image["id"]: image["file_name"] for image in parsed["images"]}
            captions: dict[Any, list[str]] = {key: [] for key in names}
            for annotation in parsed["annotations"]:
                text = annotation["caption"].strip()
                if annotation["image_id"] not in captions:
                    self.skip(split, f"{path.name} annotation {annotation.get('id')}", "a caption of an unknown image")
                elif text:
                    captions[annotation["image_id"]].append(text)
        except (KeyError, TypeError, AttributeError) as error:
            raise DataError(
                f"`{path}` is not in COCO's captions format (images with id and file_name, annotations with "
                f"image_id and caption): {error!r} fails."
            ) from None
        return {names[key]: (str(key), texts) for key, texts in captions.items()}

    def _examples(self, split: str, rows: ImageCaptions, images: ManualFiles) -> Iterator[Example]:
        for name, content in read_images(images, rows, lambda name, reason: self.skip(split, name, reason)):
            image_id, captions = rows[name]
            if captions:
                yield make_example(content, image_id, captions)
            else:
                self.skip(split, name, "no caption")


def _open(settings: DataConfig) -> tuple[Path, dict[str, Path], ManualFiles]:
    """Returns the folder, a dict from our split (or "all") to the captions file, and the images."""
    folder = manual_folder(settings, "coco", _WANTED)
    years: tuple[str, ...] = ()
    texts: dict[str, Path] = {}
    if (folder / KARPATHY).is_file():
        years, texts = ("2014",), {"all": folder / KARPATHY}
    else:
        for year in YEARS:
            found = {ours: _annotations(folder, f"captions_{theirs}{year}.json") for theirs, ours in _OFFICIAL.items()}
            years, texts = (year,), {split: path for split, path in found.items() if path}
            if texts:
                break
    if not texts:
        raise DataError(
            f"`data.manual_dir` ({folder}) has no COCO captions: it must hold annotations/captions_train2017.json and "
            f"annotations/captions_val2017.json (from annotations_trainval2017.zip), the same of 2014, or {KARPATHY}."
        )
    return folder, texts, coco_images(folder, [f"{part}{year}" for year in years for part in _OFFICIAL])


def coco_images(folder: Path, names: Sequence[str]) -> ManualFiles:
    """Opens COCO's image folders or zip files.

    Args:
        folder: `data.manual_dir`.
        names: names of the image folders, e.g. `train2017`.

    Raises:
        DataError: there is no image.
    """
    images = folders_or_zips(folder, names)
    if not len(images):
        raise DataError(
            f"`data.manual_dir` ({folder}) has no COCO images: it must hold {', '.join(names)} (folders or .zip files)."
        )
    return images


def _annotations(folder: Path, name: str) -> Path | None:
    return next((path for path in (folder / "annotations" / name, folder / name) if path.is_file()), None)
