"""What became of one image."""

from typing import NamedTuple

OK = "ok"


class Prediction(NamedTuple):
    """What a run says of one image, or of one image and one text.

    Attributes:
        path: of its file.
        status: `ok`, or why it could not be read.
        line: what is said, as a line for a terminal; empty where it could not be read.
        output: the same as a dict, by the names of the task's serving signature: `caption`, `score`, `captions`,
            `scores`; `question`, `answer`, `score`, `answers`, `scores`; or `text`, `probability`.
        explanation: the PNG drawn for it, if any.
    """

    path: str
    status: str
    line: str = ""
    output: dict = {}  # noqa: RUF012  never changed
    explanation: str | None = None
