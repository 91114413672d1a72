"""The user's own images: a JSONL manifest beside them."""

import difflib
import hashlib
import json
import os
from dataclasses import dataclass, field
from pathlib import Path

from vl_keras.data.builders.caption_files import hashed_share
from vl_keras.data.builders.example import DataError, make_example
from vl_keras.data.builders.example_builder import ExampleBuilder, input_stamp, skipped_lines

SPLITS = {name: name for name in ("train", "dev", "test")} | dict.fromkeys(("val", "valid", "validation"), "dev")
KEYS = ("image", "captions", "split", "context", "question", "answer")
DEV_SHARE = 0.1  # of the training images, where the manifest names no dev split


@dataclass
class _Image:
    """What the lines of one image say."""

    path: Path
    split: str
    line: int
    captions: list[str] = field(default_factory=list)
    context: str = ""
    questions: list[dict] = field(default_factory=list)


class ManifestBuilder(ExampleBuilder):
    """Images that a JSONL file lists, one JSON object a line.

    `{"image": "photos/1.jpg", "captions": ["a dog runs"], "split": "train", "context": "optional text"}`: `image` is
    absolute or relative to the manifest; `split` is train (the default), dev or test; a line may have `question` and
    `answer` instead of captions, or as well. Lines with the same image and split are joined. A line that cannot be
    used costs itself: it is skipped and listed with its number. Where no line says dev, a tenth of the training images,
    chosen by a hash of their names, becomes the dev split: the same ones each time, also when lines are added.
    """

    MISSING_SPLIT_ADVICE = (
        'Give the lines of that split a `"split"` of that name in the manifest (a dev split is taken from the training '
        "images where no line names one and there are at least two images)."
    )

    @classmethod
    def content_key(cls, settings):
        path, content = _read(settings)
        images, _ = read_manifest(content, path)
        return [hashlib.sha256(content).hexdigest(), [input_stamp(image.path) for image in images.values()]]

    def read_splits(self):
        path, content = _read(self.settings)
        images, problems = read_manifest(content, path)
        for split, name, reason in problems:
            self.skip(split, name, reason)
        found = {}
        for name, image in images.items():
            if image.path.is_file():
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
                f'No line of `{path}` has "split": "dev", so {len(dev)} of its {len(training)} training images, chosen '
                'by a hash of their names, are the dev split. To choose them yourself, give those lines "split": "dev".'
            )

    def _examples(self, split, rows):
        for name, image in rows.items():
            try:
                content = image.path.read_bytes()
            except OSError as error:
                self.skip(split, name, f"line {image.line}: {error.strerror}")
                continue
            yield make_example(content, name, image.captions, image.context, questions=image.questions)


def read_manifest(content, path):
    """The images of a manifest, and what is wrong with it.

    Args:
        content: bytes of the JSONL file.
        path: where it lies.

    Returns:
        Dict from image name (as written, folders normalised) to its data, and a list of `[split, place, reason]` rows
        for lines that cannot be used; the split of such a line is "" where it is not known.
    """
    images, problems = {}, []
    for number, line in enumerate(content.removeprefix(b"\xef\xbb\xbf").split(b"\n"), 1):
        if not line.strip():
            continue
        try:
            row = _parse(line)
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
        image.captions += [caption.strip() for caption in row.get("captions", ())]
        image.context = image.context or row.get("context", "")
        if "question" in row:
            image.questions.append({"question": row["question"], "answer": row["answer"], "kind": ""})
    return images, problems


def _parse(line):
    """The checked row of a line; raises `ValueError` with the reason where it breaks a rule."""
    try:
        row = json.loads(line.decode("utf-8"))
    except UnicodeDecodeError:
        raise ValueError("the line is not UTF-8") from None
    except ValueError as error:
        raise ValueError(f"the line is no JSON object ({error})") from None
    if not isinstance(row, dict):
        raise ValueError(f"the line must hold a JSON object such as {{...}}; it holds a {type(row).__name__}")
    if "image" not in row or not ("captions" in row or "question" in row):
        missing = "captions" if "image" in row else "image"
        near = difflib.get_close_matches(missing, [str(key) for key in row if key not in KEYS], n=1, cutoff=0.5)
        raise ValueError(f"the line has no `{missing}`" + (f"; is `{near[0]}` meant?" if near else ""))
    for key in ("image", "split", "context", "question", "answer"):
        if row.get(key) is None and key != "image":
            row.pop(key, None)  # null stands for an absent value
        elif not isinstance(row[key], str):
            raise ValueError(f"`{key}` must be a string; it is {row[key]!r}")
    captions = row.setdefault("captions", [])
    if not isinstance(captions, list) or not all(isinstance(text, str) and text.strip() for text in captions):
        raise ValueError(f"`captions` must be a list of strings that are not empty; it is {captions!r}")
    if not row["image"].strip():
        raise ValueError("`image` is empty")
    if not captions and "question" not in row:
        raise ValueError("`captions` is empty")
    if ("question" in row) != ("answer" in row):
        raise ValueError("`question` and `answer` belong together; one is missing")
    split = row.get("split", "train").lower()
    if split not in SPLITS:
        raise ValueError(f"`split` must be train, dev or test; it is {row['split']!r}")
    return {**row, "split": SPLITS[split]}


def _read(settings):
    path = Path(settings.manifest).expanduser()
    try:
        return path, path.read_bytes()
    except OSError as error:
        raise DataError(f"The manifest `{path}` (`data.manifest`) cannot be read: {error.strerror}.") from None
