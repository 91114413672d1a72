"""Calls of TensorFlow Serving's RESTful API, in its column form."""

import base64
import binascii
import json
from urllib.parse import quote

import numpy as np

from export.client.call import Call, Failure
from export.client.results import Metadata, Signature, VersionStatus
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
_LONGEST_MESSAGE = 500


class RestProtocol:
    """Makes and reads the bodies; see `GrpcProtocol` for the arguments."""

    names_single_outputs = False  # a signature's only output comes without its name

    def __init__(self, model, version=None, label=None):
        self._path = f"/v1/models/{quote(model, safe='')}"
        if version is not None:
            self._path += f"/versions/{version}"
        elif label is not None:
            self._path += f"/labels/{quote(label, safe='')}"

    def predict(self, signature, inputs, outputs):
        """`Call` that gives a dict of output name -> array, or the only output's array."""
        columns = {name: _to_json(array) for name, array in inputs.items()}
        body = {"signature_name": signature, "inputs": columns} if signature else {"inputs": columns}
        return Call(("POST", f"{self._path}:predict"), json.dumps(body).encode(), None, _reading(_predict(outputs)))

    def status(self):
        """`Call` that gives a list of `VersionStatus`, the newest first."""
        return Call(("GET", self._path), None, None, _reading(_read_status))

    def metadata(self):
        """`Call` that gives `Metadata`."""
        return Call(("GET", f"{self._path}/metadata"), None, None, _reading(_read_metadata))


def failure(status, content):
    """`Failure` of an answer of HTTP status other than 200."""
    try:
        message = json.loads(content)["error"]
    except (ValueError, KeyError, TypeError):
        message = content[:_LONGEST_MESSAGE].decode("utf-8", "replace").strip()
    code = _CODES.get(status, "UNKNOWN" if status < 500 else "INTERNAL")
    return Failure(code, str(message) or f"HTTP {status} without a message")


def _reading(read):
    """A reader of bytes that says so where they are not what a model server answers."""

    def checked(content):
        try:
            return read(json.loads(content))
        except (ValueError, KeyError, TypeError, AttributeError, binascii.Error) as error:
            start = content[:80].decode("utf-8", "replace")
            raise ValueError(f"the answer is not TensorFlow Serving's: {start!r} ({error})") from error

    return checked


def _to_json(array):
    if array.dtype != object:
        return array.tolist()
    flat = np.empty(array.size, object)
    flat[:] = [{"b64": base64.b64encode(item).decode()} for item in array.ravel()]
    return flat.reshape(array.shape).tolist()


def _predict(wanted):
    def read(body):
        outputs = body["outputs"]
        if not isinstance(outputs, dict) or set(outputs) == {"b64"}:
            return _from_json(outputs)
        return {name: _from_json(value) for name, value in outputs.items() if not wanted or name in wanted}

    return read


def _from_json(value):
    value = _decode(value)
    flat = value
    while isinstance(flat, list) and flat:
        flat = flat[0]
    if isinstance(flat, (str, bytes)):
        return to_array(value)
    return np.asarray(value)


def _decode(value):
    if isinstance(value, list):
        return [_decode(item) for item in value]
    if isinstance(value, dict):
        return base64.b64decode(value["b64"])
    return value


def _read_status(body):
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


def _read_metadata(body):
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


def _infos(tensors):
    return {
        name: (info["dtype"].removeprefix("DT_").lower(), _shape(info["tensor_shape"]))
        for name, info in sorted(tensors.items())
    }


def _shape(shape):
    if shape.get("unknown_rank"):
        return None
    return tuple(None if int(dim["size"]) < 0 else int(dim["size"]) for dim in shape.get("dim", []))
