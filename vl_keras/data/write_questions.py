"""Writes questions made from captions as a manifest."""

import collections
import json
import os
import re
from pathlib import Path

import numpy as np

from vl_keras.config import DataConfig
from vl_keras.data.caption_questions import CaptionQuestion, caption_questions
from vl_keras.data.source import Source, open_source, prepare
from vl_keras.errors import DataError
from vl_keras.progress import Progress


def write_questions(data: DataConfig, out: str | Path, seed: int = 0) -> dict[str, dict[str, int]]:
    """Makes questions from the captions of every split; see `caption_questions`.

    Args:
        data: `DataConfig` of images with English captions.
        out: JSONL manifest to write, one question per line. Images that lie in no file of their own are written to the
            folder `NAME_images` beside it.
        seed: of the random choices.

    Returns:
        Dict of split -> dict of kind of question -> number of questions.

    Raises:
        DataError: the data has no captions, or WordNet is missing.
    """
    out = Path(out).expanduser()
    counts: dict[str, dict[str, int]] = {}
    lines: list[str] = []
    for split in prepare(data).info.splits:
        source = open_source(data, split)
        try:
            questions = caption_questions(source.captions, seed)
        except ImportError as error:
            raise DataError(str(error)) from error
        counts[split] = dict(collections.Counter(question.kind for own in questions for question in own))
        for image, own in zip(_image_files(data, source, questions, out), questions, strict=True):
            for question in own:
                row = {"image": image, "question": question.question, "answer": question.answer, "split": split}
                lines.append(json.dumps(row, ensure_ascii=False) + "\n")
    if not lines:
        raise DataError("No question can be made: there are no English captions that name a thing.")
    out.write_text("".join(lines), encoding="utf-8")
    return counts


def _image_files(data: DataConfig, source: Source, questions: list[list[CaptionQuestion]], out: Path) -> list[str]:
    """The file of each image, relative to the manifest; an image without a file of its own gets one."""
    listed = Path(data.manifest).expanduser().parent if data.manifest else None
    folder = out.with_name(f"{out.stem}_images")
    files = []
    with Progress(f"images of {source.split}", len(source), "image") as progress:
        for index, name in enumerate(source.image_ids):
            if listed is not None and (listed / name).is_file():
                files.append(os.path.relpath(listed / name, out.parent))
            elif questions[index]:
                path = folder / re.sub(r"[^\w.-]", "_", f"{source.split}_{name}")
                folder.mkdir(parents=True, exist_ok=True)
                path.write_bytes(source.read_images(np.array([index]))[0])
                files.append(str(path.relative_to(out.parent)))
            else:
                files.append("")
            progress.to(index + 1)
    return files
