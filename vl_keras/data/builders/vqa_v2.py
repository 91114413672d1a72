"""VQA v2: questions about COCO's photos, each answered by ten annotators (Goyal et al., CVPR 2017)."""

from collections.abc import Callable, Container, Iterator
from operator import index
from typing import Any

import tensorflow_datasets as tfds

from vl_keras.config import DataConfig
from vl_keras.data.builders.annotators import join_annotators
from vl_keras.data.builders.coco import coco_images
from vl_keras.data.builders.example import Example, make_example
from vl_keras.data.builders.example_builder import ExampleBuilder
from vl_keras.data.builders.manual_files import ManualFiles, manual_folder, read_images, read_manual_json
from vl_keras.errors import DataError

# Our split: COCO's image folder, and the names of its question files, of which the first that exists is read.
PARTS = {
    "train": ("train2014", ("train2014",)),
    "dev": ("val2014", ("val2014",)),
    "test": ("test2015", ("test2015", "test-dev2015")),  # the answers were never published
}
_QUESTIONS = "v2_OpenEnded_mscoco_{}_questions.json"
_ANNOTATIONS = "v2_mscoco_{}_annotations.json"
_ARCHIVES = [f"v2_{kind}_{part}_mscoco.zip" for kind in ("Questions", "Annotations") for part in ("Train", "Val")]
_ARCHIVES.append("v2_Questions_Test_mscoco.zip")
_FOLDERS = ("", "annotations", "Annotations", "Questions")
_WANTED = f"{', '.join(_ARCHIVES)} (or the .json files in them), train2014/, val2014/ and test2015/ (or .zip)"

_Asked = dict[str, tuple[str, list[tuple[Any, str]]]]  # image name -> its id and its (question id, question) pairs


class VqaV2Builder(ExampleBuilder):
    """VQA v2 from `data.manual_dir`, as archives or unpacked; each split whose files exist.

    train2014 is train, val2014 is dev, test2015 (or its part test-dev2015) is test, with empty answers. The `answer` of
    a question has a line for each annotator. Its `kind` has two lines: the official answer type (yes/no, number or
    other) and the official question type, one of 65, e.g. "what color is the". Image ids are COCO's numbers. Unusable
    inputs are skipped and counted.
    """

    VERSION = tfds.core.Version("1.1.0")  # 1.0.0 did not keep the question type
    MISSING_SPLIT_ADVICE = (
        "A split needs its questions, its images and, except test, its annotations: train2014 for train, val2014 for "
        "dev, test2015 for test."
    )

    @classmethod
    def content_key(cls, settings: DataConfig) -> Any:
        texts, images = _open(settings)
        return [texts.stamp(), images.stamp()]

    def read_splits(self) -> dict[str, Iterator[Example]]:
        texts, images = _open(self.settings)
        splits: dict[str, Iterator[Example]] = {}
        for split, (folder, parts) in PARTS.items():
            part = next((part for part in parts if _QUESTIONS.format(part) in texts), None)
            annotations = None if split == "test" else _ANNOTATIONS.format(part)
            if part is None:
                continue
            if annotations and annotations not in texts:
                self.note(f"There is no {annotations}, so split `{split}` is left out.")
                continue
            asked = self._questions(split, _QUESTIONS.format(part), folder, texts)
            if self.has_images(split, asked, images):
                splits[split] = self._examples(split, asked, annotations, texts, images)
        if not splits:
            raise DataError(f"No split of VQA v2 can be read. {' '.join(self._notes)} {self.MISSING_SPLIT_ADVICE}")
        return splits

    def _questions(self, split: str, file: str, folder: str, texts: ManualFiles) -> _Asked:
        asked: _Asked = {}
        for number, row in enumerate(_rows(texts, file, "questions"), 1):
            try:
                image, key, question = index(row["image_id"]), row["question_id"], row["question"].strip()
            except (KeyError, TypeError, AttributeError):
                self.skip(split, f"{file} question {number}", "not image_id, question_id and question")
                continue
            _, pairs = asked.setdefault(f"COCO_{folder}_{image:012d}.jpg", (str(image), []))
            pairs.append((key, question))
        return asked

    def _answers(self, split: str, file: str, known: Container[Any], texts: ManualFiles) -> dict[Any, tuple[str, str]]:
        """Dict from question id to its joined answers and its kinds."""
        answers: dict[Any, tuple[str, str]] = {}
        # The training file has 4.4 million annotators' objects; to save memory, only the answer of each is kept.
        rows = _rows(texts, file, "annotations", lambda row: row.get("answer", row))
        for number, row in enumerate(rows, 1):
            try:
                key, answer = row["question_id"], join_annotators(row["answers"])
                kind = f"{row['answer_type'].strip()}\n{row.get('question_type', '').strip()}"
            except (KeyError, TypeError, AttributeError):
                self.skip(split, f"{file} annotation {number}", "not question_id, answer_type and answers")
                continue
            if key in known:
                answers[key] = answer, kind
            else:
                self.skip(split, f"{file} annotation {number}", "of an unknown question")
        return answers

    def _examples(
        self, split: str, asked: _Asked, annotations: str | None, texts: ManualFiles, images: ManualFiles
    ) -> Iterator[Example]:
        known = {key for _, pairs in asked.values() for key, _ in pairs}
        answers = self._answers(split, annotations, known, texts) if annotations else dict.fromkeys(known, ("", ""))
        for name, content in read_images(images, asked, lambda name, reason: self.skip(split, name, reason)):
            image_id, pairs = asked[name]
            questions = []
            for key, question in pairs:
                if key in answers:
                    answer, kind = answers[key]
                    questions.append({"question": question, "answer": answer, "kind": kind})
                else:
                    self.skip(split, f"question {key}", f"there is no answer to it in {annotations}")
            if questions:
                yield make_example(content, image_id, questions=questions)


def _rows(
    texts: ManualFiles, file: str, key: str, object_hook: Callable[[dict[str, Any]], Any] | None = None
) -> list[Any]:
    parsed = read_manual_json(texts, file, object_hook)
    if not isinstance(parsed, dict) or not isinstance(parsed.get(key), list):
        raise DataError(f"`{file}` is not in VQA v2's format (an object with a list `{key}`); get the file again.")
    return parsed[key]


def _open(settings: DataConfig) -> tuple[ManualFiles, ManualFiles]:
    """Returns the questions and annotations, and the images."""
    folder = manual_folder(settings, "vqa_v2", _WANTED)
    parts = [part for _, parts in PARTS.values() for part in parts]
    names = {name.format(part) for name in (_QUESTIONS, _ANNOTATIONS) for part in parts}
    texts = ManualFiles([folder / name for name in _ARCHIVES], [folder / name for name in _FOLDERS], only=names)
    if not len(texts):
        raise DataError(f"`data.manual_dir` ({folder}) has no questions of VQA v2: it must hold {_WANTED}.")
    return texts, coco_images(folder, [name for name, _ in PARTS.values()])
