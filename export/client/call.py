"""One exchange with a server, whatever carries it."""

from collections.abc import Callable
from typing import Any, NamedTuple


class Call(NamedTuple):
    """What is sent, and how its answer is read.

    Attributes:
        target: gRPC's method, e.g. `/tensorflow.serving.PredictionService/Predict`; REST's `(GET or POST, path)`.
        body: the message, or REST's body in bytes (None: no body).
        reply: class of the answer's message; REST has none.
        read: function from the answer to its meaning.
    """

    target: Any
    body: Any
    reply: Any
    read: Callable


class Failure(NamedTuple):
    """Why a call has no answer.

    Attributes:
        code: name of the gRPC status code.
        message: what the server or the connection said.
    """

    code: str
    message: str
