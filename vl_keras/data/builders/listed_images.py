"""The user's own images, listed line by line in a file: the base class for all forms of such a file."""

import hashlib
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from vl_keras.config import DataConfig
from vl_keras.data.builders.caption_files import hashed_share
from vl_keras.data.builders.example import Example, make_example
from vl_keras.data.builders.example_builder import ExampleBuilder, input_stamp, skipped_lines
from vl_keras.errors import DataError
from vl_keras.files import FileFinder, problem_of, read_file

SPLITS = {name: name for name in ("train", "dev", "test")} | dict.fromkeys(("val", "valid", "validation"), "dev")
DEV_SHARE = 0.1  # share of the training images that becomes the dev split if no line names one


@dataclass
class _Image:
    """The content of all lines of one image, or of the same files.

    Attributes:
        files: dict of modality -> the files.
    """

    files: dict[str, list[Path]]
    split: str
    line: int
    captions: list[str] = field(default_factory=list)
    context: str = ""
    questions: list[dict[str, str]] = field(default_factory=list)

    @property
    def paths(self) -> list[Path]:
        return [path for paths in self.files.values() for path in paths]

    @property
    def is_one_image(self) -> bool:
        return list(self.files) == ["image"] and len(self.files["image"]) == 1


class ListedImagesBuilder(ExampleBuilder):
    """Images listed in the lines of `data.manifest`; subclasses parse a line.

    Image paths are absolute or relative to the file. Lines with the same image and split are joined; a line that puts
    an image into a second split is refused. An unusable line is skipped and listed with its number. If no line names
    the split dev, a tenth of the training images, chosen by a hash of their names, becomes the dev split; adding lines
    does not change this choice.
    """

    NAME_THE_SPLIT: str  # how to give a line its split, as the end of a sentence

    @staticmethod
    def parse_line(line: str) -> dict[str, Any]:
        """Parses and checks a line.

        Args:
            line: the line without its line feed.

        Returns:
            Dict: `files`, of modality -> list of paths as in the line; `split`, train, dev or test; and, if the line
            has them, `captions`, `context` and `questions` as in an example.

        Raises:
            ValueError: the line breaks a rule; the message names it.
        """
        raise NotImplementedError

    @classmethod
    def lines(cls, content: bytes, path: Path) -> Iterable[tuple[int, bytes]]:
        """The lines of a file's content, with their numbers."""
        return enumerate(content.split(b"\n"), 1)

    @classmethod
    def content_key(cls, settings: DataConfig) -> Any:
        path, content = _read(settings)
        images, _ = _images(content, path, cls)
        stamps = [input_stamp(path) for image in images.values() for path in image.paths]
        return [hashlib.sha256(content).hexdigest(), stamps]

    @classmethod
    def content_modalities(cls, settings: DataConfig) -> tuple[str, ...]:
        path, content = _read(settings)
        images, _ = _images(content, path, cls)
        if all(image.is_one_image for image in images.values()):
            return ()
        return tuple(sorted({modality for image in images.values() for modality in image.files}))

    def read_splits(self) -> dict[str, Iterator[Example]]:
        path, content = _read(self.settings)
        images, problems = _images(content, path, type(self))
        for split, name, reason in problems:
            self.skip(split, name, reason)
        found = {}
        for name, image in images.items():
            problem = next(((path, why) for path in image.paths if (why := problem_of(path))), None)
            if problem:
                file, why = problem
                slashes = Path(str(file).replace("\\", "/"))
                hint = "; write / in place of \\" if slashes != file and not problem_of(slashes) else ""
                self.skip(image.split, name, f"line {image.line}: {why} ({file}){hint}")
            else:
                found[name] = image
        if not found:
            raise DataError(
                f"The manifest `{path}` (`data.manifest`) has no usable line.{skipped_lines(self._skipped)}"
            )
        if not any(image.split == "dev" for image in images.values()):
            self._choose_dev(path, found)
        splits: dict[str, dict[str, _Image]] = {}
        for name, image in found.items():
            splits.setdefault(image.split, {})[name] = image
        return {split: self._examples(split, rows) for split, rows in splits.items()}

    def _choose_dev(self, path: Path, images: dict[str, _Image]) -> None:
        training = [name for name, image in images.items() if image.split == "train"]
        dev = hashed_share(training, DEV_SHARE)
        kept = {path for name in set(training) - set(dev) for path in images[name].paths}
        dev = {name for name in dev if kept.isdisjoint(images[name].paths)}  # files may be in several examples
        for name in dev:
            images[name].split = "dev"
        if dev:
            self.note(
                f"No line of `{path}` is in split dev, so {len(dev)} of its {len(training)} training images, chosen "
                f"by a hash of their names, are the dev split. To choose them yourself, {self.NAME_THE_SPLIT}."
            )

    def _examples(self, split: str, rows: dict[str, _Image]) -> Iterator[Example]:
        modalities = self.content_modalities(self.settings)
        for name, image in rows.items():
            try:
                contents = {key: [read_file(path) for path in image.files.get(key, ())] for key in modalities}
                content = contents or read_file(image.files["image"][0])
            except OSError as error:
                self.skip(split, name, f"line {image.line}: {error.strerror}")
                continue
            yield make_example(content, name, image.captions, image.context, questions=image.questions)


def parse_split(name: str) -> str:
    """Converts the name of a split to train, dev or test; `val`, `valid` and `validation` mean dev.

    Raises:
        ValueError: there is no such split.
    """
    if name.lower() not in SPLITS:
        raise ValueError(f"`split` must be train, dev or test; it is {name!r}")
    return SPLITS[name.lower()]


def _images(
    content: bytes, path: Path, builder: type[ListedImagesBuilder]
) -> tuple[dict[str, _Image], list[list[str]]]:
    """Parses all lines.

    Returns:
        Dict from image name (the path in the line, normalised; of several files their paths joined by " + ") to its
        content (lines that name the same files in another way, e.g. through a link, are joined), and
        `[split, place, reason]` rows of unusable lines; the split of such a line is "" if it is unknown.
    """
    images: dict[str, _Image] = {}
    splits: dict[str, tuple[str, int]] = {}  # of each real file: its split, and the line that first names it
    first_names: dict[tuple[str, ...], str] = {}  # of real files: the image's name in the first line that names them
    finder = FileFinder()
    problems: list[list[str]] = []
    for number, line in builder.lines(content.removeprefix(b"\xef\xbb\xbf"), path):
        if not line.strip():
            continue
        try:
            row = builder.parse_line(_decode(line))
        except ValueError as error:
            problems.append(["", f"{path.name}:{number}", str(error)])
            continue
        files = {modality: [os.path.normpath(name) for name in names] for modality, names in row["files"].items()}
        names = [name for own in files.values() for name in own]
        paths = {modality: [finder.find(path.parent / name) for name in own] for modality, own in files.items()}
        real = tuple(finder.real(each) for own in paths.values() for each in own)
        elsewhere = [i for i, each in enumerate(real) if each in splits and splits[each][0] != row["split"]]
        if elsewhere:
            split, first = splits[real[elsewhere[0]]]
            reason = (
                f"`{names[elsewhere[0]]}` is in split {split} already (line {first}); a model must not be evaluated on "
                "an image that it was trained on"
            )
            problems.append([row["split"], f"{path.name}:{number}", reason])
            continue
        splits.update((each, (row["split"], number)) for each in real if each not in splits)
        name = first_names.setdefault(real, " + ".join(names))
        image = images.setdefault(name, _Image(paths, row["split"], number))
        image.captions += row.get("captions", ())
        image.context = image.context or row.get("context", "")
        image.questions += row.get("questions", ())
    return images, problems


def _decode(line: bytes) -> str:
    try:
        return line.decode("utf-8").removesuffix("\r")
    except UnicodeDecodeError:
        raise ValueError("the line is not UTF-8") from None


def _read(settings: DataConfig) -> tuple[Path, bytes]:
    path = Path(settings.manifest).expanduser()
    try:
        return path, read_file(path)
    except OSError as error:
        raise DataError(f"The manifest `{path}` (`data.manifest`) cannot be read: {error.strerror}.") from None
