"""The one form that every dataset's examples take."""

import tensorflow_datasets as tfds

# First bytes of the image formats that TensorFlow decodes; WebP's come after four bytes of RIFF and four of size.
_SIGNATURES = (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF8", b"BM")


def example_features():
    """Features of an example; a part that a dataset does not have is empty.

    `image` keeps the file's own bytes. `bbox` is ymin, xmin, ymax, xmax as shares of height and width. `kind` of a
    question is, for instance, yes_no, count, color, shape or where, or pair where the question is a text and the answer
    says whether it matches the image; a question of several kinds has a line for each, the broadest first. An `answer`
    of several annotators has a line for each (`annotators.annotators`); it is empty where it was not published.
    """
    text = tfds.features.Text
    return tfds.features.FeaturesDict(
        {
            "image": tfds.features.Image(),
            "image_id": text(),
            "captions": tfds.features.Sequence(text()),
            "context": text(),
            "objects": tfds.features.Sequence({"label": text(), "bbox": tfds.features.BBoxFeature()}),
            "questions": tfds.features.Sequence({"question": text(), "answer": text(), "kind": text()}),
            "dialogue": tfds.features.Sequence({"question": text(), "answer": text()}),
        }
    )


def make_example(image, image_id, captions=(), context="", objects=(), questions=(), dialogue=()):
    """An example in the form of `example_features`; `image` is the encoded file's bytes."""
    return {
        "image": image,
        "image_id": image_id,
        "captions": list(captions),
        "context": context,
        "objects": list(objects),
        "questions": list(questions),
        "dialogue": list(dialogue),
    }


def image_problem(content):
    """Why these bytes cannot be an image, judged by their first ones, or an empty string. Decoding comes later."""
    if not content:
        return "the file is empty"
    if content.startswith(_SIGNATURES) or (content[:4] == b"RIFF" and content[8:12] == b"WEBP"):
        return ""
    return "not a JPEG, PNG, GIF, BMP or WebP file"
