"""easy-VQA: 64x64 images of one coloured shape, with questions of thirteen answers (Zhou, 2019)."""

from collections.abc import Iterator
from operator import index
from typing import Any

from vl_keras.config import DataConfig
from vl_keras.data.builders.caption_files import hashed_share
from vl_keras.data.builders.example import Example, make_example
from vl_keras.data.builders.example_builder import ExampleBuilder
from vl_keras.data.builders.manual_files import ManualFiles, manual_folder, read_images, read_manual_json
from vl_keras.errors import DataError

PARTS = ("train", "test")
QUESTIONS = "questions.json"
DEV_SHARE = 0.1  # of the training images
_WANTED = "easy_vqa_train.zip and easy_vqa_test.zip (or their unpacked folders train/ and test/)"

_Questions = dict[str, list[dict[str, Any]]]  # image name -> question rows


class EasyVqaBuilder(ExampleBuilder):
    """easy-VQA from `data.manual_dir`: its two parts, or one of them, as archives or unpacked.

    The dataset has no dev part, so a tenth of the training images, chosen by a hash of their names, are held out with
    all their questions. Rows of `questions.json` that are not `[question, answer, image number]`, and images without a
    file, are skipped and counted. `kind` of a question is yes_no, color or shape.
    """

    MISSING_SPLIT_ADVICE = (
        "train and dev come from easy_vqa_train.zip and test from easy_vqa_test.zip (or the folders train/ and test/) "
        "in `data.manual_dir`."
    )

    @classmethod
    def content_key(cls, settings: DataConfig) -> Any:
        return {part: files.stamp() for part, files in _open(settings).items()}

    def read_splits(self) -> dict[str, Iterator[Example]]:
        splits = {}
        for part, files in _open(self.settings).items():
            questions = self._questions(part, files)
            dev = hashed_share(questions, DEV_SHARE) if part == "train" else set()
            rows = {part: {name: questions[name] for name in questions if name not in dev}}
            if dev:
                rows["dev"] = {name: questions[name] for name in questions if name in dev}
            for split, asked in rows.items():
                if self.has_images(split, asked, files):
                    splits[split] = self._examples(part, split, asked, files)
        return splits

    def _questions(self, part: str, files: ManualFiles) -> _Questions:
        """Dict from image name to question rows."""
        parsed = read_manual_json(files, QUESTIONS)
        if not isinstance(parsed, list):
            raise DataError(f"easy-VQA's {part}/{QUESTIONS} must be a list of [question, answer, image number] rows.")
        questions: _Questions = {}
        for number, row in enumerate(parsed, 1):
            try:
                question, answer, image = row
                question, answer, image = question.strip(), answer.strip(), index(image)
            except (TypeError, ValueError, AttributeError):
                self.skip(part, f"{part}/{QUESTIONS} row {number}", "the row is not [question, answer, image number]")
                continue
            if not question or not answer:
                self.skip(part, f"{part}/{QUESTIONS} row {number}", "the question or the answer is empty")
                continue
            kind = question_kind(question, answer)
            questions.setdefault(f"{image}.png", []).append({"question": question, "answer": answer, "kind": kind})
        return questions

    def _examples(self, part: str, split: str, questions: _Questions, files: ManualFiles) -> Iterator[Example]:
        # Both parts have a 0.png, so an image's id contains the folder.
        for name, content in read_images(files, questions, lambda name, why: self.skip(split, _id(part, name), why)):
            yield make_example(content, _id(part, name), questions=questions[name])


def question_kind(question: str, answer: str) -> str:
    """Kind of a question of easy-VQA: yes_no, color, shape, or "" if it is none of them."""
    if answer.lower() in ("yes", "no"):
        return "yes_no"
    return next((kind for kind in ("color", "shape") if kind in question.lower()), "")


def _id(part: str, name: str) -> str:
    return f"{part}/images/{name}"


def _open(settings: DataConfig) -> dict[str, ManualFiles]:
    """Dict from part to its files."""
    folder = manual_folder(settings, "easy_vqa", _WANTED)
    # One `ManualFiles` for each part: it identifies files by base name, and both parts have the same names.
    parts = {
        part: ManualFiles([folder / f"easy_vqa_{part}.zip"], [folder / part, folder / part / "images"])
        for part in PARTS
    }
    parts = {part: files for part, files in parts.items() if QUESTIONS in files}
    if not parts:
        raise DataError(f"`data.manual_dir` ({folder}) has no easy-VQA: it must hold {_WANTED}.")
    return parts
