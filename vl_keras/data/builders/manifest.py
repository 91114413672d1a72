"""The user's own images: a JSONL manifest beside them."""

import difflib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from vl_keras.data.builders.listed_images import ListedImagesBuilder, parse_split
from vl_keras.data.builders.manifest_lines import manifest_lines
from vl_keras.data.modalities import MODALITIES

_KEYS = ("image", "captions", "split", "context", "question", "answer")
_PAIRS_HINT = "; lines of IMAGE<tab>TEXT<tab>match|no-match are read from a file whose name ends in .tsv"


class ManifestBuilder(ListedImagesBuilder):
    """Images listed in a JSONL file, one JSON object a line; or the same objects in one JSON array, or a CSV table.

    `{"image": "photos/1.jpg", "captions": ["a dog runs"], "split": "train", "context": "optional text"}`: `split` is
    train (the default), dev or test. A line may have `question` and `answer` instead of captions, or both. `image` may
    be a list of files, or absent where the line names a file, or a list of them, of another modality.
    """

    MISSING_SPLIT_ADVICE = (
        'Give the lines of that split a `"split"` of that name in the manifest (if no line names dev and there are at '
        "least two images, some training images become the dev split)."
    )
    NAME_THE_SPLIT = 'give those lines "split": "dev"'

    @classmethod
    def lines(cls, content: bytes, path: Path) -> Iterable[tuple[int, bytes]]:
        return manifest_lines(content, path.name)

    @staticmethod
    def parse_line(line: str) -> dict[str, Any]:
        try:
            row = json.loads(line)
            json.dumps(row, ensure_ascii=False).encode("utf-8")  # refuses lone surrogates, which JSON permits
        except (ValueError, RecursionError) as error:
            hint = _PAIRS_HINT if "\t" in line and not line.lstrip().startswith("{") else ""
            raise ValueError(f"the line is no JSON object ({error}){hint}") from None
        if not isinstance(row, dict):
            raise ValueError(f"the line must hold a JSON object such as {{...}}; it holds a {type(row).__name__}")
        row = {key: value for key, value in row.items() if value is not None}  # null means absent
        files = {name: row[name] if isinstance(row[name], list) else [row[name]] for name in MODALITIES if name in row}
        known = {*_KEYS, *MODALITIES}
        if not files or not ("captions" in row or "question" in row):
            missing = ("captions", "question") if files else ("image",)
            unknown = [str(key) for key in row if key not in known]
            near = [found for key in missing for found in difflib.get_close_matches(key, unknown, n=1, cutoff=0.5)]
            nothing = "the line has " + " and ".join(f"no `{key}`" for key in missing)
            raise ValueError(nothing + (f"; is `{near[0]}` meant?" if near else ""))
        others = {key.lower(): key for key in row if key not in known}
        # These keys are optional, but a misspelt `split` would train on held-out images. "content" is no misspelling.
        for key, cutoff in (("split", 0.75), ("context", 0.9)):
            near = difflib.get_close_matches(key, others, n=1, cutoff=cutoff)
            if key not in row and near:
                raise ValueError(f"the line has no `{key}`; is `{others[near[0]]}` meant?")
        for key, names in files.items():
            if not all(isinstance(name, str) for name in names):
                raise ValueError(f"`{key}` must be a string; it is {row[key]!r} (of several files, a list of strings)")
        for key in ("split", "context", "question", "answer"):
            if not isinstance(row.get(key, ""), str):
                raise ValueError(f"`{key}` must be a string; it is {row[key]!r}")
        captions = row.get("captions", [])
        if not isinstance(captions, list) or not all(isinstance(text, str) and text.strip() for text in captions):
            raise ValueError(f"`captions` must be a list of strings that are not empty; it is {captions!r}")
        for key, names in files.items():
            if not all(name.strip() for name in names):
                raise ValueError(f"`{key}` is empty")
        files = {key: names for key, names in files.items() if names}
        if not files:
            raise ValueError("the line names no file")
        if not captions and "question" not in row:
            raise ValueError("`captions` is empty")
        if ("question" in row) != ("answer" in row):
            raise ValueError("`question` and `answer` belong together; one is missing")
        for key in ("question", "answer"):
            if not row.get(key, "there").strip():
                raise ValueError(f"`{key}` is empty")
        # A line feed after an answer would start the answer of a second annotator.
        asked = (
            [{"question": row["question"], "answer": row["answer"].strip(), "kind": ""}] if "question" in row else []
        )
        return {
            "files": files,
            "split": parse_split(row.get("split", "train")),
            "captions": [caption.strip() for caption in captions],
            "context": row.get("context", ""),
            "questions": asked,
        }
