"""The prediction for one image."""

from typing import NamedTuple

OK = "ok"


class Prediction(NamedTuple):
    """What a run predicts for one image, or for one image and one text.

    Attributes:
        path: of the image's file; `image 1` and so on for images in memory.
        status: `ok`, or why it could not be read.
        line: the prediction as a line for a terminal; empty if the image could not be read.
        output: the same as a dict, by the names of the task's serving signature: `caption`, `score`, `captions`,
            `scores`; `question`, `answer`, `score`, `answers`, `scores`; or `text`, `probability`.
        explanation: path of the PNG drawn for it, if any.
    """

    path: str
    status: str
    line: str = ""
    output: dict = {}  # noqa: RUF012  never changed
    explanation: str | None = None
