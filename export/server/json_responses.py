"""Writes the JSON responses to predict, classify and regress requests, formatted like TensorFlow Serving."""

import base64
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import grpc
import numpy as np

from export.server.json_tensors import dtype_name
from export.server.json_writer import write_decimals, write_string
from export.server.serving_error import ServingError
from export.server.tensor_protos import array_dtype

_INTEGERS = ("int32", "int16", "int8", "uint8", "int64", "uint32", "uint64")


def write_tensors(tensors: Mapping[str, np.ndarray], is_row_form: bool) -> bytes:
    """The response to a predict request, pretty-printed like TensorFlow Serving.

    Args:
        tensors: dict of alias -> array. A string tensor whose alias ends in `_bytes` is written as base64.
        is_row_form: whether the request used `instances`.

    Returns:
        The body.

    Raises:
        ServingError: JSON cannot represent the dtype; in row form, the batch sizes of the outputs differ or
            are missing.
    """
    if not tensors:
        raise _invalid("Cannot convert empty tensor map to JSON")
    tensors = dict(sorted(tensors.items()))
    named = len(tensors) > 1
    if not is_row_form:
        values = [_nest(_leaves(*item, named), item[1].shape, 1 + named, False)[0] for item in tensors.items()]
        outputs = _write_object(tensors, values, 1) if named else values[0]
        return b'{\n    "outputs": ' + outputs + b"\n}"

    batch = None
    for alias, tensor in tensors.items():
        if tensor.ndim == 0:
            raise _invalid(f"Tensor name: {alias} has no shape information ")
        if batch not in (None, len(tensor)):
            raise _invalid(f"Tensor name: {alias} has inconsistent batch size: {len(tensor)} expecting: {batch}")
        batch = len(tensor)
    columns = [_nest(_leaves(*item, named), item[1].shape, 2 + named, True) for item in tensors.items()]
    if named:
        separator = b"\n        "
        rows = (b"," + separator).join(_write_object(tensors, row, 2) for row in zip(*columns, strict=True))
    else:
        separator = b""
        rows = b", ".join(columns[0])
    return b'{\n    "predictions": [' + (separator + rows + b"\n    " if batch else b"") + b"]\n}"


def write_classifications(result: Any) -> bytes:
    """The response to a classify request."""
    if not result.classifications:
        raise _invalid("Cannot convert empty ClassificationResults to JSON")
    rows = [
        b"[" + b", ".join(b"[%s, %s]" % pair for pair in zip(labels, scores, strict=True)) + b"]"
        for labels, scores in (
            ([write_string(row_class.label.encode()) for row_class in row.classes], _decimals(row.classes, "score"))
            for row in result.classifications
        )
    ]
    return b'{\n    "results": [' + b", ".join(rows) + b"\n    ]\n}"


def write_regressions(result: Any) -> bytes:
    """The response to a regress request."""
    if not result.regressions:
        raise _invalid("Cannot convert empty RegressionResults to JSON")
    return b'{\n    "results": [' + b", ".join(_decimals(result.regressions, "value")) + b"]\n}"


def _decimals(messages: Iterable[Any], field: str) -> list[bytes]:
    return write_decimals(np.array([getattr(message, field) for message in messages], np.float32))


def _invalid(text: str) -> ServingError:
    return ServingError(grpc.StatusCode.INVALID_ARGUMENT, text)


def _leaves(alias: str, tensor: np.ndarray, named: bool) -> list[bytes]:
    """The JSON of every value of a tensor, as a flat list."""
    values = tensor.ravel()
    if not values.size:
        return []
    if values.dtype in (np.float32, np.float64):
        return write_decimals(values)
    if values.dtype == np.bool_:
        return [b"true" if value else b"false" for value in values.tolist()]
    if values.dtype.name in _INTEGERS:
        return [b"%d" % value for value in values.tolist()]
    if values.dtype.kind not in "OS":
        name = dtype_name(array_dtype(values))
        raise _invalid(f"Failed to write JSON value for tensor type: {name}")
    if not alias.endswith("_bytes"):
        return list(map(write_string, values.tolist()))
    depth = 1 + named + tensor.ndim  # number of enclosing brackets
    start, end = b'{\n%s"b64": "' % (b"    " * (depth + 1)), b'"\n%s}' % (b"    " * depth)
    return [start + base64.b64encode(value) + end for value in values.tolist()]


def _nest(texts: list[bytes], shape: Sequence[int], depth: int, is_row_form: bool) -> list[bytes]:
    """Adds the brackets around the values of a tensor.

    Row form: everything on one line; returns one item per row. Column form: one line per value; returns one item, whose
    outermost bracket is inside `depth` others.
    """
    for axis in range(len(shape) - 1, 0 if is_row_form else -1, -1):
        size, count = shape[axis], math.prod(shape[:axis])
        line = b"\n" + b"    " * (depth + axis)
        before, between, after = (b"", b", ", b"") if is_row_form else (line + b"    ", b"," + line + b"    ", line)
        if size == 0:
            before = after = b""
        texts = [
            b"[" + before + between.join(texts[place * size : (place + 1) * size]) + after + b"]"
            for place in range(count)
        ]
    return texts


def _write_object(names: Iterable[str], values: Iterable[bytes], depth: int) -> bytes:
    """A JSON object of formatted values, inside `depth` brackets."""
    line = b"\n" + b"    " * (depth + 1)
    pairs = [line + write_string(name.encode()) + b": " + value for name, value in zip(names, values, strict=True)]
    return b"{" + b",".join(pairs) + b"\n" + b"    " * depth + b"}"
