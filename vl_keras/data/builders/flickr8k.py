"""Flickr8k: 8,000 photos with five captions each (Hodosh et al., JAIR 2013)."""

from collections.abc import Iterator, Sequence
from typing import Any

from vl_keras.config import DataConfig
from vl_keras.data.builders.caption_files import read_names, read_tokens
from vl_keras.data.builders.example import Example, make_example
from vl_keras.data.builders.example_builder import ExampleBuilder
from vl_keras.data.builders.manual_files import ManualFiles, manual_folder, read_images
from vl_keras.errors import DataError

LISTS = {
    "train": "Flickr_8k.trainImages.txt",
    "dev": "Flickr_8k.devImages.txt",
    "test": "Flickr_8k.testImages.txt",
}
TOKENS = "Flickr8k.token.txt"
_TEXTS = "Flickr8k_text.zip"
_WANTED = "Flickr8k_Dataset.zip and Flickr8k_text.zip (or, unpacked, Flicker8k_Dataset/ and the .txt files)"


class Flickr8kBuilder(ExampleBuilder):
    """Flickr8k from `data.manual_dir`, as archives or unpacked; each official split whose list file exists.

    Image ids in the captions that do not end in `.jpg`, and listed images without a file, are skipped and counted.
    """

    MISSING_SPLIT_ADVICE = (
        "A split comes from its list (Flickr_8k.trainImages.txt, .devImages.txt, .testImages.txt) in Flickr8k_text.zip "
        "or in `data.manual_dir` itself."
    )

    @classmethod
    def content_key(cls, settings: DataConfig) -> Any:
        images, texts = _open(settings)
        return [images.stamp(), texts.stamp()]

    def read_splits(self) -> dict[str, Iterator[Example]]:
        images, texts = _open(self.settings)
        captions = read_tokens(texts.read(TOKENS), TOKENS, lambda name, reason: self.skip("", name, reason))
        for name in captions:
            if not name.endswith(".jpg"):
                self.skip("", name, "an id with captions that is no .jpg file")
        splits: dict[str, Iterator[Example]] = {}
        for split, file in LISTS.items():
            names = read_names(texts.read(file)) if file in texts else ()
            if names and self.has_images(split, names, images):
                splits[split] = self._examples(split, names, captions, images)
        return splits

    def _examples(
        self, split: str, names: Sequence[str], captions: dict[str, list[str]], images: ManualFiles
    ) -> Iterator[Example]:
        for name, content in read_images(images, names, lambda name, reason: self.skip(split, name, reason)):
            if name in captions:
                yield make_example(content, name, captions[name])
            else:
                self.skip(split, name, f"no caption in {TOKENS}")


def _open(settings: DataConfig) -> tuple[ManualFiles, ManualFiles]:
    """Returns the images and the texts."""
    folder = manual_folder(settings, "flickr8k", _WANTED)
    images = ManualFiles(
        [folder / "Flickr8k_Dataset.zip"],
        [folder / "Flicker8k_Dataset", folder / "Flickr8k_Dataset", folder / "Flickr8k_Dataset" / "Flicker8k_Dataset"],
    )
    texts = ManualFiles([folder / _TEXTS], [folder / "Flickr8k_text", folder], only={TOKENS, *LISTS.values(), _TEXTS})
    if not len(images):
        raise DataError(
            f"`data.manual_dir` ({folder}) has no Flickr8k photos: it must hold Flickr8k_Dataset.zip, or the folder "
            "Flicker8k_Dataset that it unpacks to."
        )
    if TOKENS not in texts or not any(file in texts for file in LISTS.values()):
        raise DataError(
            f"`data.manual_dir` ({folder}) has no Flickr8k captions: it must hold Flickr8k_text.zip, or its files "
            f"{TOKENS} and at least one of {', '.join(LISTS.values())}."
        )
    return images, texts
