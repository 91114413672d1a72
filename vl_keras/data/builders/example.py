"""The form of the examples of every dataset."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import tensorflow_datasets as tfds

CONTENTS = "contents/"  # starts the keys of records whose examples have any number of contents of a modality

# First bytes of the image formats that TensorFlow decodes. WebP's signature follows "RIFF" and four bytes of size.
_SIGNATURES = (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF8", b"BM")

Example = dict[str, Any]  # with the keys of `example_features`


def example_features(modalities: Sequence[str] = ()) -> tfds.features.FeaturesDict:
    """Features of an example; a feature that a dataset does not have is empty.

    Without `modalities` every example has exactly one image: `image` is the encoded file. With them, `contents` takes
    its place: any number of byte strings of each of these modalities.

    `bbox` is ymin, xmin, ymax, xmax as shares of height and width. `kind` of a question is, for instance, yes_no,
    count, color, shape or where, or pair if the question is a text and the answer is whether it matches the image. A
    question of several kinds has a line for each, the broadest first. The `answer` has a line for each annotator (see
    `annotators`); it is empty if it was not published.
    """
    text = tfds.features.Text
    contents = {name: tfds.features.Sequence(text()) for name in modalities}
    return tfds.features.FeaturesDict(
        {
            **({"contents": contents} if modalities else {"image": tfds.features.Image()}),
            "image_id": text(),
            "captions": tfds.features.Sequence(text()),
            "context": text(),
            "objects": tfds.features.Sequence({"label": text(), "bbox": tfds.features.BBoxFeature()}),
            "questions": tfds.features.Sequence({"question": text(), "answer": text(), "kind": text()}),
            "dialogue": tfds.features.Sequence({"question": text(), "answer": text()}),
        }
    )


def make_example(
    image: bytes | Mapping[str, Sequence[bytes]],
    image_id: str,
    captions: Iterable[str] = (),
    context: str = "",
    objects: Iterable[dict[str, Any]] = (),
    questions: Iterable[dict[str, str]] = (),
    dialogue: Iterable[dict[str, str]] = (),
) -> Example:
    """Builds an example in the form of `example_features`.

    Args:
        image: bytes of the encoded file; or dict of modality -> the contents of the example.
        image_id: name of the example.
        captions, context, objects, questions, dialogue: as the features say.
    """
    return {
        **({"image": image} if isinstance(image, bytes) else {"contents": image}),
        "image_id": image_id,
        "captions": list(captions),
        "context": context,
        "objects": list(objects),
        "questions": list(questions),
        "dialogue": list(dialogue),
    }


def image_problem(content: bytes) -> str:
    """The reason why a file cannot be an image, by its first bytes, or an empty string. Nothing is decoded here."""
    if not content:
        return "the file is empty"
    if content.startswith(_SIGNATURES) or (content[:4] == b"RIFF" and content[8:12] == b"WEBP"):
        return ""
    return "not a JPEG, PNG, GIF, BMP or WebP file"
