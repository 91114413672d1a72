"""What the typed calls give; a row each."""

from typing import NamedTuple

import numpy as np

OK = "ok"


class Caption(NamedTuple):
    """One image's caption.

    Attributes:
        status: `ok`, or why this image has no caption.
        caption: empty where there is none.
        score: its length-normalised log-probability; None where there is no caption.
    """

    status: str
    caption: str = ""
    score: float | None = None


class Candidates(NamedTuple):
    """One image's captions, best first.

    Attributes:
        status: `ok`, or why this image has none.
        captions: tuple of strings.
        scores: tuple of floats, one each.
    """

    status: str
    captions: tuple = ()
    scores: tuple = ()


class Explanation(NamedTuple):
    """Where the model looked.

    Attributes:
        status: `ok`, or why this image has no caption.
        caption: empty where there is none.
        score: of the caption.
        words: tuple of L strings, as the model wrote them.
        attention: `(L, rows, columns)` float32, a map over the image for each word.
    """

    status: str
    caption: str = ""
    score: float | None = None
    words: tuple = ()
    attention: np.ndarray = np.zeros((0, 1, 1), np.float32)


class Answer(NamedTuple):
    """The answer to a question about one image.

    Attributes:
        status: `ok`, or why this image has no answer.
        answer: the most probable one; empty where there is none, or where the model withholds it as too unsure.
        score: its probability; None where the image has no answer.
        answers: tuple of strings, the most probable first.
        scores: tuple of floats, one each.
    """

    status: str
    answer: str = ""
    score: float | None = None
    answers: tuple = ()
    scores: tuple = ()


class Match(NamedTuple):
    """Whether a text is about one image.

    Attributes:
        status: `ok`, or why this image cannot be said to match.
        probability: that it is; None where the image cannot be read.
    """

    status: str
    probability: float | None = None


class Embedding(NamedTuple):
    """One image or text as a vector.

    Attributes:
        status: `ok`, or why it has none.
        embedding: `(D,)` float32, or None.
    """

    status: str
    embedding: np.ndarray | None = None


class VersionStatus(NamedTuple):
    """What became of one version of a model.

    Attributes:
        version: its number.
        state: `START`, `LOADING`, `AVAILABLE`, `UNLOADING` or `END`.
        code: `OK`, or the code of the failure that ended it.
        message: what that failure said.
    """

    version: int
    state: str
    code: str
    message: str


class Signature(NamedTuple):
    """What a model takes and gives under one name.

    Attributes:
        method: e.g. `tensorflow/serving/predict`.
        inputs: dict of name -> `(dtype, shape)`; dtype e.g. `string`, shape a tuple with None for any size, or None.
        outputs: the same.
    """

    method: str
    inputs: dict
    outputs: dict


class Metadata(NamedTuple):
    """A served model.

    Attributes:
        name: of the model.
        version: that answered.
        signatures: dict of name -> `Signature`.
    """

    name: str
    version: int
    signatures: dict
