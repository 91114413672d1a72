"""Parses the method and path of a REST request."""

import dataclasses
import re
import urllib.parse
from typing import Self

import grpc
from tensorflow_serving.apis import model_pb2

from export.server.serving_error import ServingError

_POST = re.compile(
    rb"/v1/models/([^/:]+)(?:(?:/versions/([0-9]+))|(?:/labels/([^/:]+)))?:(classify|regress|predict)", re.I
)
_GET = re.compile(rb"/v1/models(?:/([^/:]+))?(?:(?:/versions/([0-9]+))|(?:/labels/([^/:]+)))?(?:/(metadata))?", re.I)


class BadVersion(ServingError):
    """A version that does not fit into 64 bits; TensorFlow Serving sends an empty body."""


@dataclasses.dataclass(frozen=True)
class RestTarget:
    """The model and the operation of a request.

    Attributes:
        model_spec: `ModelSpec` with the name and the version or label of the path.
        verb: `predict`, `classify`, `regress`, `metadata` or `status`.
    """

    model_spec: model_pb2.ModelSpec
    verb: str

    @classmethod
    def parse(cls, method: str, path: bytes) -> Self:
        """Parses the request line.

        The path is case-insensitive except for the verb; name and label are percent-decoded. Like in TensorFlow
        Serving, a query is part of the last word.

        Args:
            method: `GET`, `POST`, ….
            path: as sent, including `?` and the query if there is one.

        Raises:
            ServingError: INVALID_ARGUMENT; `BadVersion` if the version does not fit into 64 bits.
        """
        match = {"POST": _POST, "GET": _GET}[method].fullmatch(path) if method in ("POST", "GET") else None
        malformed = ServingError(
            grpc.StatusCode.INVALID_ARGUMENT, f"Malformed request: {method} {path.decode('utf-8', 'replace')}"
        )
        if not match:
            raise malformed
        name, version, label, verb = match.groups()
        spec = model_pb2.ModelSpec(name=_decode(name or b""))
        if version is not None:
            digits = version.lstrip(b"0") or b"0"
            if len(digits) > 19 or int(digits) >= 2**63:
                text = f"Failed to convert version: {version.decode()} to numeric."
                raise BadVersion(grpc.StatusCode.INVALID_ARGUMENT, text)
            spec.version.value = int(digits)
        if label is not None:
            spec.version_label = _decode(label)
        if method == "POST":
            if verb != verb.lower():
                raise malformed
            return cls(spec, verb.decode())
        if not spec.name:
            raise ServingError(grpc.StatusCode.INVALID_ARGUMENT, "Missing model name in request.")
        return cls(spec, "metadata" if verb == b"metadata" else "status")


def _decode(word: bytes) -> str:
    return urllib.parse.unquote_to_bytes(word).decode("utf-8", "replace")
