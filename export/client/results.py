"""The results of the typed calls, one per row."""

from typing import NamedTuple

import numpy as np

OK = "ok"
TensorInfo = tuple[str, tuple[int | None, ...] | None]  # dtype and shape


class Caption(NamedTuple):
    """The caption of an image.

    Attributes:
        status: `ok`, or why the image has no caption.
        caption: the caption; empty if there is none.
        score: length-normalised log-probability; None if there is no caption.
    """

    status: str
    caption: str = ""
    score: float | None = None


class Candidates(NamedTuple):
    """The candidate captions of an image, best first.

    Attributes:
        status: `ok`, or why the image has no captions.
        captions: the captions.
        scores: the score of each caption.
    """

    status: str
    captions: tuple[str, ...] = ()
    scores: tuple[float, ...] = ()


class Explanation(NamedTuple):
    """A caption with the attention weights of each word.

    Attributes:
        status: `ok`, or why the image has no caption.
        caption: the caption; empty if there is none.
        score: score of the caption.
        words: the L tokens of the caption.
        attention: `(L, rows, columns)` float32, attention weights over the image for each token.
    """

    status: str
    caption: str = ""
    score: float | None = None
    words: tuple[str, ...] = ()
    attention: np.ndarray = np.zeros((0, 1, 1), np.float32)


class Answer(NamedTuple):
    """The answer to a question about an image.

    Attributes:
        status: `ok`, or why the image has no answer.
        answer: the most probable answer; empty if there is none or its score is below the threshold of the model.
        score: probability of the answer; None if there is none.
        answers: candidate answers, most probable first.
        scores: the score of each candidate.
    """

    status: str
    answer: str = ""
    score: float | None = None
    answers: tuple[str, ...] = ()
    scores: tuple[float, ...] = ()


class Match(NamedTuple):
    """Whether a text matches an image.

    Attributes:
        status: `ok`, or why there is no prediction.
        probability: probability that they match; None if the image cannot be read.
    """

    status: str
    probability: float | None = None


class Embedding(NamedTuple):
    """The embedding of an image or text.

    Attributes:
        status: `ok`, or why there is no embedding.
        embedding: `(D,)` float32, or None.
    """

    status: str
    embedding: np.ndarray | None = None


class VersionStatus(NamedTuple):
    """The state of one version of a model.

    Attributes:
        version: number of the version.
        state: `START`, `LOADING`, `AVAILABLE`, `UNLOADING` or `END`.
        code: `OK`, or the code of the error that ended it.
        message: message of that error.
    """

    version: int
    state: str
    code: str
    message: str


class Signature(NamedTuple):
    """The inputs and outputs of a signature.

    Attributes:
        method: e.g. `tensorflow/serving/predict`.
        inputs: dict of name -> `(dtype, shape)`, e.g. `("string", (None,))`. None in a shape means any size;
            None as shape means unknown.
        outputs: like `inputs`.
    """

    method: str
    inputs: dict[str, TensorInfo]
    outputs: dict[str, TensorInfo]


class Metadata(NamedTuple):
    """Metadata of a served model.

    Attributes:
        name: name of the model.
        version: number of the version in use.
        signatures: dict of name -> `Signature`.
    """

    name: str
    version: int
    signatures: dict[str, Signature]
