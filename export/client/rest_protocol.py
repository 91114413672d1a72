"""The requests and responses of the REST API of TensorFlow Serving, in column form."""

import base64
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any
from urllib.parse import quote

import numpy as np

from export.client.call import BAD_RESPONSE, Call, Failure
from export.client.results import Metadata, Signature, TensorInfo, VersionStatus
from export.client.tensors import to_array

_CODES = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    409: "ABORTED",
    429: "RESOURCE_EXHAUSTED",
    499: "CANCELLED",
    500: "INTERNAL",
    501: "UNIMPLEMENTED",
    503: "UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
}
_LONGEST_MESSAGE = 4000
_MOST_CONTAINERS = 3_000_000  # lists and objects in a response: about 300 MB


class RestProtocol:
    """Creates the requests and reads the responses; see `GrpcProtocol` for the arguments."""

    def __init__(self, model: str, version: int | None = None, label: str | None = None) -> None:
        self._path = f"/v1/models/{quote(model, safe='')}"
        if version is not None:
            self._path += f"/versions/{version}"
        elif label is not None:
            self._path += f"/labels/{quote(label, safe='')}"

    def predict(self, signature: str, inputs: Mapping[str, np.ndarray], outputs: Sequence[str] | None) -> Call:
        """`Call` that returns a dict of output name -> array, or only the array if there is one output."""
        columns = {name: _to_json(array) for name, array in inputs.items()}
        body = {"signature_name": signature, "inputs": columns} if signature else {"inputs": columns}
        return Call(("POST", f"{self._path}:predict"), json.dumps(body).encode(), None, _reading(_predict(outputs)))

    def status(self) -> Call:
        """`Call` that returns a list of `VersionStatus`, newest first."""
        return Call(("GET", self._path), None, None, _reading(_read_status))

    def metadata(self) -> Call:
        """`Call` that returns `Metadata`."""
        return Call(("GET", f"{self._path}/metadata"), None, None, _reading(_read_metadata))


def failure(status: int, content: bytes) -> Failure:
    """`Failure` of a response with an HTTP status other than 200."""
    try:
        message = json.loads(content)["error"]
    except BAD_RESPONSE:
        message = content[:_LONGEST_MESSAGE].decode("utf-8", "replace").strip()
    code = _CODES.get(status, "UNKNOWN" if status < 500 else "INTERNAL")
    return Failure(code, str(message)[:_LONGEST_MESSAGE] or f"HTTP {status} without a message")


def _reading(read: Callable[[Any], Any]) -> Callable[[bytes], Any]:
    """A reader that raises a clear error if the response does not come from a model server."""

    def checked(content: bytes) -> Any:
        try:
            if content.count(b"[") + content.count(b"{") > _MOST_CONTAINERS:
                raise ValueError(f"more than {_MOST_CONTAINERS} lists and objects")
            return read(json.loads(content))
        except BAD_RESPONSE as error:
            start = content[:80].decode("utf-8", "replace")
            raise ValueError(f"the response is not from TensorFlow Serving: {start!r} ({error})") from error

    return checked


def _to_json(array: np.ndarray) -> Any:
    if array.dtype != object:
        return array.tolist()
    flat = np.empty(array.size, object)
    flat[:] = [{"b64": base64.b64encode(item).decode()} for item in array.ravel()]
    return flat.reshape(array.shape).tolist()


def _predict(wanted: Sequence[str] | None) -> Callable[[Any], np.ndarray | dict[str, np.ndarray]]:
    def read(body: Any) -> np.ndarray | dict[str, np.ndarray]:
        outputs = body["outputs"]
        if not isinstance(outputs, dict) or set(outputs) == {"b64"}:
            return _from_json(outputs)
        return {name: _from_json(value) for name, value in outputs.items() if not wanted or name in wanted}

    return read


def _from_json(value: Any) -> np.ndarray:
    value = _decode(value)
    flat = value
    while isinstance(flat, list) and flat:
        flat = flat[0]
    if isinstance(flat, (str, bytes)):
        return to_array(value)
    return np.asarray(value)


def _decode(value: Any) -> Any:
    if isinstance(value, list):
        return [_decode(item) for item in value]
    if isinstance(value, dict):
        return base64.b64decode(value["b64"])
    return value


def _read_status(body: Any) -> list[VersionStatus]:
    found = [
        VersionStatus(
            int(each["version"]),
            each["state"],
            each.get("status", {}).get("error_code", "OK"),
            each.get("status", {}).get("error_message", ""),
        )
        for each in body["model_version_status"]
    ]
    return sorted(found, reverse=True)


def _read_metadata(body: Any) -> Metadata:
    signatures = body["metadata"]["signature_def"]["signature_def"]
    return Metadata(
        body["model_spec"]["name"],
        int(body["model_spec"]["version"]),
        {
            name: Signature(value["method_name"], _infos(value["inputs"]), _infos(value["outputs"]))
            for name, value in sorted(signatures.items())
            if not name.startswith("__")
        },
    )


def _infos(tensors: Mapping[str, Any]) -> dict[str, TensorInfo]:
    return {
        name: (info["dtype"].removeprefix("DT_").lower(), _shape(info["tensor_shape"]))
        for name, info in sorted(tensors.items())
    }


def _shape(shape: Mapping[str, Any]) -> tuple[int | None, ...] | None:
    if shape.get("unknown_rank"):
        return None
    return tuple(None if int(dim["size"]) < 0 else int(dim["size"]) for dim in shape.get("dim", []))
