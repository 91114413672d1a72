"""The prediction for one image."""

from typing import NamedTuple

OK = "ok"


class Prediction(NamedTuple):
    """What a run predicts for one image, or for one image with one text.

    Attributes:
        path: the image's file; `image 1` and so on for images in memory.
        status: `ok`, or the reason why the image could not be read.
        line: the prediction as a line for a terminal; empty if the image could not be read.
        output: the prediction as a dict, with the names of the task's serving signature: `caption`, `score`,
            `captions`, `scores`; `question`, `answer`, `score`, `answers`, `scores`; or `text`, `probability`.
        explanation: path of the PNG file that explains it, if one was drawn.
    """

    path: str
    status: str
    line: str = ""
    output: dict = {}  # noqa: RUF012  never changed
    explanation: str | None = None
