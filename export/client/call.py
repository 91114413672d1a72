"""One request to a server and its response, independent of the transport."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

Tls = tuple[str | Path | None, str | Path | None, str | Path | None]  # CA, certificate and key: PEM files

# What reading a response raises if a server sends nonsense.
BAD_RESPONSE = (ValueError, TypeError, LookupError, AttributeError, ArithmeticError, RecursionError, MemoryError)


class Call(NamedTuple):
    """A request, and how to read its response.

    Attributes:
        target: gRPC: the method, e.g. `/tensorflow.serving.PredictionService/Predict`. REST: `(GET or POST, path)`.
        body: gRPC: the message. REST: bytes, or None for no body.
        response_type: gRPC: class of the response message. REST: None.
        read: converts the response to the result of the call.
    """

    target: Any
    body: Any
    response_type: Any
    read: Callable[[Any], Any]


class Failure(NamedTuple):
    """Why a request failed.

    Attributes:
        code: name of the gRPC status code.
        message: error message of the server or the connection.
    """

    code: str
    message: str
