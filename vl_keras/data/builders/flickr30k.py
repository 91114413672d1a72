"""Flickr30k: 31,783 photos with five captions each (Young et al., TACL 2014)."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from vl_keras.config import DataConfig
from vl_keras.data.builders.caption_files import ImageCaptions, hashed_share, read_karpathy, read_names, read_tokens
from vl_keras.data.builders.example import Example, make_example
from vl_keras.data.builders.example_builder import ExampleBuilder, input_stamp
from vl_keras.data.builders.manual_files import ManualFiles, folders_or_zips, manual_folder, read_images
from vl_keras.errors import DataError

KARPATHY = "dataset_flickr30k.json"
TOKENS = ("results_20130124.token", "results_20130124.token.txt")
LISTS = {
    "train": ("flickr30k_train.txt", "train.txt"),
    "dev": ("flickr30k_val.txt", "val.txt", "flickr30k_dev.txt", "dev.txt"),
    "test": ("flickr30k_test.txt", "test.txt"),
}
_FOLDERS = ("flickr30k-images", "flickr30k_images", "Flickr30k_Dataset", "images")
_SHARE = 1 / 31  # of the images; about 1,000 each for dev and test, as in Karpathy's splits
_WANTED = f"the images (flickr30k-images/) and {KARPATHY} or {TOKENS[0]}"


class Flickr30kBuilder(ExampleBuilder):
    """Flickr30k from `data.manual_dir`: an image folder, and Karpathy's JSON or the official token file.

    With the token file, splits come from list files of image names (train.txt, val.txt, test.txt) if there are any.
    Otherwise dev and test are chosen by a hash of the image's name, about 1,000 images each.
    """

    @classmethod
    def content_key(cls, settings: DataConfig) -> Any:
        folder, images = _open(settings)
        texts = [KARPATHY, *TOKENS, *(name for names in LISTS.values() for name in names)]
        return [images.stamp(), [input_stamp(folder / name) for name in texts]]

    def read_splits(self) -> dict[str, Iterator[Example]]:
        folder, images = _open(self.settings)
        if (folder / KARPATHY).is_file():
            splits = read_karpathy((folder / KARPATHY).read_bytes(), folder / KARPATHY)
        else:
            splits = self._token_splits(folder)
        return {
            split: self._examples(split, rows, images)
            for split, rows in splits.items()
            if self.has_images(split, rows, images)
        }

    def _token_splits(self, folder: Path) -> dict[str, ImageCaptions]:
        path = next(folder / name for name in TOKENS if (folder / name).is_file())
        captions = read_tokens(path.read_bytes(), path.name, lambda name, reason: self.skip("", name, reason))
        lists = {split: _first(folder, names) for split, names in LISTS.items()}
        if any(lists.values()):
            names = {split: read_names(path.read_bytes()) for split, path in lists.items() if path}
            # published lists come with and without the suffix
            names = {split: [n if n.endswith(".jpg") else f"{n}.jpg" for n in rows] for split, rows in names.items()}
        else:
            dev = hashed_share(captions, _SHARE, "dev ")
            test = hashed_share(set(captions) - dev, _SHARE, "test ")
            names = {"train": [n for n in captions if n not in dev | test], "dev": sorted(dev), "test": sorted(test)}
            self.note(
                f"No list of Flickr30k's splits was found, so {len(dev)} dev and {len(test)} test images were chosen "
                f"by a hash of their names; put {KARPATHY} into `data.manual_dir` for the splits that papers report on."
            )
        return {split: {name: (name, captions.get(name, [])) for name in rows} for split, rows in names.items()}

    def _examples(self, split: str, rows: ImageCaptions, images: ManualFiles) -> Iterator[Example]:
        for name, content in read_images(images, rows, lambda name, reason: self.skip(split, name, reason)):
            image_id, captions = rows[name]
            if captions:
                yield make_example(content, image_id, captions)
            else:
                self.skip(split, name, "no caption")


def _first(folder: Path, names: Sequence[str]) -> Path | None:
    return next((folder / name for name in names if (folder / name).is_file()), None)


def _open(settings: DataConfig) -> tuple[Path, ManualFiles]:
    folder = manual_folder(settings, "flickr30k", _WANTED)
    if not (folder / KARPATHY).is_file() and not _first(folder, TOKENS):
        raise DataError(
            f"`data.manual_dir` ({folder}) has no Flickr30k captions: it must hold {KARPATHY} or {TOKENS[0]}."
        )
    images = folders_or_zips(folder, _FOLDERS)
    if not len(images):
        raise DataError(
            f"`data.manual_dir` ({folder}) has no Flickr30k photos: it must hold the folder flickr30k-images, which "
            "flickr30k-images.tar.gz unpacks to."
        )
    return folder, images
