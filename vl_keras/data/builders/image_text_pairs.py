"""The user's own image-text pairs: a tab-separated file of texts that match their image or do not."""

from typing import Any

from vl_keras.data.builders.listed_images import ListedImagesBuilder, parse_split

MATCH, NO_MATCH = "match", "no-match"
_HEADINGS = ("label", "labels", "match?", "matches", "class", "target")
PAIR_KIND = "pair"  # `kind` of the question rows that hold labelled texts


class PairsBuilder(ListedImagesBuilder):
    """Images and labelled texts from a `.tsv` file, one pair a line: `IMAGE<tab>TEXT<tab>match|no-match`.

    A fourth column may name the split: train (the default), dev or test. Each text becomes a question row with the text
    as `question` and the label as `answer`; a text that matches is also a caption of its image.
    """

    MISSING_SPLIT_ADVICE = (
        "Name that split in a fourth column of its lines (if no line names dev and there are at least two images, some "
        "training images become the dev split)."
    )
    NAME_THE_SPLIT = "write dev into a fourth column of those lines"

    @staticmethod
    def parse_line(line: str) -> dict[str, Any]:
        columns = [column.strip() for column in line.split("\t")]
        if len(columns) not in (3, 4):
            raise ValueError(
                "the line is not IMAGE<tab>TEXT<tab>match|no-match, with or without a fourth column for the split; it "
                f"has {len(columns)} column(s)"
            )
        image, text, label, split = (*columns, "")[:4]
        for name, value in (("image", image), ("text", text)):
            if not value:
                raise ValueError(f"the {name} is empty")
        if label.lower() not in (MATCH, NO_MATCH):
            quoted = any(len(column) > 1 and column[0] == column[-1] == '"' for column in (image, label))
            hint = "; quotes around a column are not removed, write it without" if quoted else ""
            hint = hint or ("; a line of headings is not read, delete it" if label.lower() in _HEADINGS else "")
            raise ValueError(f"the label (third column) must be {MATCH} or {NO_MATCH}; it is {label!r}{hint}")
        return {
            "files": {"image": [image]},
            "split": parse_split(split or "train"),
            "captions": [text] if label.lower() == MATCH else [],
            "questions": [{"question": text, "answer": label.lower(), "kind": PAIR_KIND}],
        }
