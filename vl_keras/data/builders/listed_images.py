"""The user's own images, listed line by line in a file: what all forms of such a file share."""

import hashlib
import os
from dataclasses import dataclass, field
from pathlib import Path

from vl_keras.data.builders.caption_files import hashed_share
from vl_keras.data.builders.example import make_example
from vl_keras.data.builders.example_builder import ExampleBuilder, input_stamp, skipped_lines
from vl_keras.errors import DataError

SPLITS = {name: name for name in ("train", "dev", "test")} | dict.fromkeys(("val", "valid", "validation"), "dev")
DEV_SHARE = 0.1  # of the training images, where no line names a dev split


@dataclass
class _Image:
    """What the lines of one image say."""

    path: Path
    split: str
    line: int
    captions: list[str] = field(default_factory=list)
    context: str = ""
    questions: list[dict] = field(default_factory=list)


class ListedImagesBuilder(ExampleBuilder):
    """Images that the lines of `data.manifest` list; subclasses say how a line is written.

    Images are absolute or relative to the file. Lines with the same image and split are joined; an image in two splits
    is refused. A line that cannot be used costs itself: it is skipped and listed with its number. Where no line says
    dev, a tenth of the training images, chosen by a hash of their names, becomes the dev split: the same ones each
    time, also when lines are added.
    """

    NAME_THE_SPLIT: str  # how a line is given its split, as the end of a sentence

    @staticmethod
    def parse_line(line):
        """The checked content of a line.

        Args:
            line: string, without its end.

        Returns:
            Dict: `image`, the path as written; `split`, train, dev or test; and, where the line has them, `captions`,
            `context` and `questions` as in an example.

        Raises:
            ValueError: the line breaks a rule; the message says which.
        """
        raise NotImplementedError

    @classmethod
    def content_key(cls, settings):
        path, content = _read(settings)
        images, _ = _images(content, path, cls.parse_line)
        return [hashlib.sha256(content).hexdigest(), [input_stamp(image.path) for image in images.values()]]

    def read_splits(self):
        path, content = _read(self.settings)
        images, problems = _images(content, path, self.parse_line)
        for split, name, reason in problems:
            self.skip(split, name, reason)
        found = {}
        for name, image in images.items():
            if os.path.isfile(image.path):  # False, unlike `Path.is_file`, of a name too long for any file
                found[name] = image
            else:
                self.skip(image.split, name, f"line {image.line}: there is no such file ({image.path})")
        if not found:
            raise DataError(
                f"The manifest `{path}` (`data.manifest`) has no usable line.{skipped_lines(self._skipped)}"
            )
        if not any(image.split == "dev" for image in images.values()):
            self._choose_dev(path, found)
        splits = {}
        for name, image in found.items():
            splits.setdefault(image.split, {})[name] = image
        return {split: self._examples(split, rows) for split, rows in splits.items()}

    def _choose_dev(self, path, images):
        training = [name for name, image in images.items() if image.split == "train"]
        dev = hashed_share(training, DEV_SHARE)
        for name in dev:
            images[name].split = "dev"
        if dev:
            self.note(
                f"No line of `{path}` is in split dev, so {len(dev)} of its {len(training)} training images, chosen "
                f"by a hash of their names, are the dev split. To choose them yourself, {self.NAME_THE_SPLIT}."
            )

    def _examples(self, split, rows):
        for name, image in rows.items():
            try:
                content = image.path.read_bytes()
            except OSError as error:
                self.skip(split, name, f"line {image.line}: {error.strerror}")
                continue
            yield make_example(content, name, image.captions, image.context, questions=image.questions)


def parse_split(name):
    """train, dev or test; `val`, `valid` and `validation` mean dev. Raises `ValueError` for another name."""
    if name.lower() not in SPLITS:
        raise ValueError(f"`split` must be train, dev or test; it is {name!r}")
    return SPLITS[name.lower()]


def _images(content, path, parse_line):
    """Dict from image name (as written, folders normalised) to its data, and `[split, place, reason]` rows of lines
    that cannot be used; the split of such a line is "" where it is not known."""
    images, problems = {}, []
    for number, line in enumerate(content.removeprefix(b"\xef\xbb\xbf").split(b"\n"), 1):
        if not line.strip():
            continue
        try:
            row = parse_line(_decode(line))
        except ValueError as error:
            problems.append(["", f"{path.name}:{number}", str(error)])
            continue
        name = os.path.normpath(row["image"])
        image = images.setdefault(name, _Image(path.parent / name, row["split"], number))
        if image.split != row["split"]:
            reason = (
                f"`{name}` is in split {image.split} already (line {image.line}); an image in two splits would let a "
                "model be measured on what it was trained on"
            )
            problems.append([row["split"], f"{path.name}:{number}", reason])
            continue
        image.captions += row.get("captions", ())
        image.context = image.context or row.get("context", "")
        image.questions += row.get("questions", ())
    return images, problems


def _decode(line):
    try:
        return line.decode("utf-8").removesuffix("\r")
    except UnicodeDecodeError:
        raise ValueError("the line is not UTF-8") from None


def _read(settings):
    path = Path(settings.manifest).expanduser()
    try:
        return path, path.read_bytes()
    except OSError as error:
        raise DataError(f"The manifest `{path}` (`data.manifest`) cannot be read: {error.strerror}.") from None
