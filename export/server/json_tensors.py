"""Reads the tensors of a predict request.

The rules, the order of the checks and the error messages are those of TensorFlow Serving 2.20
(https://www.tensorflow.org/tfx/serving/api_rest, `util/json_tensor.cc`). Valid tensors are converted in bulk; only if
that fails, they are read value by value to find the error.
"""

import base64
import binascii
import contextlib
import itertools
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import grpc
import numpy as np
import tensorflow as tf
from tensorflow.core.framework import types_pb2

from export.server.json_reader import is_double, members, read_double
from export.server.json_writer import excerpt
from export.server.serving_error import ServingError

_MAX_RANK = 254  # of a TensorFlow tensor
_CHUNK = 4096  # values that are checked one by one to find the error
_INT32, _UINT32, _INT64, _UINT64 = ((-(2**31), 2**31), (0, 2**32), (-(2**63), 2**63), (0, 2**64))
_INTEGERS = {  # dtype -> range of accepted JSON numbers; narrower types accept any int32 and wrap
    types_pb2.DT_INT32: _INT32,
    types_pb2.DT_INT16: _INT32,
    types_pb2.DT_INT8: _INT32,
    types_pb2.DT_UINT8: _INT32,
    types_pb2.DT_INT64: _INT64,
    types_pb2.DT_UINT32: _UINT32,
    types_pb2.DT_UINT64: _UINT64,
}
_DECIMALS = (types_pb2.DT_FLOAT, types_pb2.DT_DOUBLE)
_JSON_TYPES = {type(None): "Null", list: "Array", str: "String", int: "Number", float: "Number"}
_BASE64 = re.compile(rb"([A-Za-z0-9+/]*)([=.]*)")


def read_signature_name(document: Any) -> str:
    """`signature_name` of a request body, "" by default.

    Raises:
        ServingError: the body is not an object, or the name is not a string.
    """
    if not isinstance(document, dict):
        raise _invalid(f"JSON Value: {excerpt(document)} Is not object")
    name = document.get("signature_name", "")
    if not isinstance(name, str):
        text = "not formatted correctly. 'signature_name' key must be a string value."
        raise _invalid(f"JSON Value: {excerpt(document)} {text}")
    return name


def read_tensors(
    document: Any, tensor_infos: Mapping[str, Any], signature_name: str
) -> tuple[dict[str, np.ndarray], bool]:
    """The input tensors of a predict request.

    Args:
        document: the body as an object from `read_json`.
        tensor_infos: dict or proto map of alias -> `TensorInfo`: the inputs of the signature.
        signature_name: as in the request, for error messages.

    Returns:
        `(tensors, is_row_form)`: dict of alias -> array (strings as object arrays of bytes), and whether the request
        used `instances`.

    Raises:
        ServingError: INVALID_ARGUMENT (UNIMPLEMENTED for a dtype that JSON cannot represent, in column form).
    """
    dtypes = {alias: tensor_infos[alias].dtype for alias in sorted(tensor_infos)}
    if not dtypes:
        raise _invalid(f"Failed to get input map for signature: {signature_name or 'DEFAULT'}")
    if "instances" not in document:
        if "inputs" not in document:
            raise _invalid("Missing 'inputs' or 'instances' key")
        return _read_columns(document["inputs"], dtypes), False
    problem = None
    instances = document["instances"]
    if "inputs" in document:
        problem = "Not formatted correctly expecting only one of 'inputs' or 'instances' keys to exist "
    elif not isinstance(instances, list):
        problem = "Expecting 'instances' to be an list/array"
    elif not instances:
        problem = "No values in 'instances' array"
    if problem:
        raise _invalid(f"JSON Value: {excerpt(document)} {problem}")
    return _read_rows(instances, dtypes), True


def dtype_name(dtype: int) -> str:
    """The name of a `DataType` in TensorFlow, e.g. `float`."""
    return types_pb2.DataType.Name(dtype).removeprefix("DT_").lower()


def json_type(value: Any) -> str:
    """The name of the type of a value in RapidJSON."""
    if isinstance(value, dict):
        return "Object"
    return str(value) if isinstance(value, bool) else _JSON_TYPES[type(value)]


def is_base64(value: Any) -> bool:
    """Whether a value is `{"b64": "…"}`."""
    return isinstance(value, dict) and len(members(value)) == 1 and isinstance(value.get("b64"), str)


def read_bytes(value: Any) -> bytes:
    """The bytes of a JSON string or of `{"b64": "…"}`.

    Raises:
        ServingError: the value is neither of them or cannot be decoded.
    """
    if isinstance(value, str):
        return value.encode("utf-8", "surrogateescape")
    if not is_base64(value):
        raise _invalid(f"JSON Value: {excerpt(value)} not formatted correctly for base64 data")
    text = value["b64"].encode("utf-8", "surrogateescape")
    try:
        return binascii.a2b_base64(text, strict_mode=True)
    except binascii.Error:
        pass  # TensorFlow Serving also accepts white space, missing padding and "." for "="
    match = _BASE64.fullmatch(b"".join(text.split()))
    if match:
        digits, padding = match.groups()
        missing = -len(digits) % 4
        if missing < 3 and len(padding) in (0, missing):
            return base64.b64decode(digits + b"=" * missing)
    raise _invalid("Unable to base64 decode")


def _invalid(text: str) -> ServingError:
    return ServingError(grpc.StatusCode.INVALID_ARGUMENT, text)


def _read_columns(value: Any, dtypes: Mapping[str, int]) -> dict[str, np.ndarray]:
    if not isinstance(value, dict) or is_base64(value):
        if len(dtypes) > 1:
            raise _invalid(
                "inputs is a plain value/list, but expecting an object as multiple input tensors required as per "
                "tensorinfo_map"
            )
        value = dict.fromkeys(dtypes, value)
    tensors = {}
    for alias, dtype in dtypes.items():
        if alias not in value:
            raise _invalid(f"Missing named input: {alias} in 'inputs' object.")
        tensor = _in_bulk(value[alias], dtype)
        if tensor is None:
            shape, values = _value_by_value(value[alias], alias, dtype)
            tensor = _array(values, dtype, shape)
        tensors[alias] = tensor
    return tensors


def _read_rows(instances: list[Any], dtypes: Mapping[str, int]) -> dict[str, np.ndarray]:
    if not isinstance(instances[0], dict) and len(dtypes) > 1:
        raise _invalid(
            "instances is a plain list, but expecting list of objects as multiple input tensors required as per "
            "tensorinfo_map"
        )
    named = _is_row_object(instances[0])
    if not named:
        columns = {next(iter(dtypes)): instances}
    elif all(type(row) is dict and row.keys() == dtypes.keys() for row in instances) and not any(
        map(is_base64, instances)
    ):
        columns = {alias: [row[alias] for row in instances] for alias in dtypes}
    else:
        return _rows_value_by_value(instances, dtypes, named)
    tensors = {}
    for alias, column in columns.items():
        tensor = _in_bulk(column, dtypes[alias])
        if tensor is None:
            return _rows_value_by_value(instances, dtypes, named)
        tensors[alias] = tensor
    return tensors


def _is_row_object(value: Any) -> bool:
    return isinstance(value, dict) and not is_base64(value)


def _rows_value_by_value(instances: list[Any], dtypes: Mapping[str, int], named: bool) -> dict[str, np.ndarray]:
    """Like `_read_rows`, value by value; raises the first error in the order of TensorFlow Serving."""
    values: dict[str, list[Any]] = {}
    shapes: dict[str, list[int]] = {}
    sizes: dict[str, int] = {}

    def add(item: Any, alias: str) -> None:
        if alias not in dtypes:
            raise _invalid(f"JSON object: does not have named input: {alias}")
        shape, found = _value_by_value(item, alias, dtypes[alias])
        values.setdefault(alias, []).extend(found)
        if alias not in shapes:
            shapes[alias], sizes[alias] = shape, len(found)
        elif sizes[alias] != len(found):
            raise _invalid(f"Expecting tensor size: {sizes[alias]} but got: {len(found)}")
        elif shapes[alias] != shape:
            raise _invalid(f"Expecting shape {_shape_text(shapes[alias])} but got: {_shape_text(shape)}")

    for place, row in enumerate(instances):
        if named != _is_row_object(row):
            got = "object but got list" if named else "value/list but got object"
            raise _invalid(f"Expecting {got} at item {place} of input list")
        pairs = members(row) if named else [(next(iter(dtypes)), row)]
        for alias, item in pairs:
            try:
                add(item, alias)
            except ServingError as error:
                key = f" key: {alias}" if named else ""
                raise _invalid(
                    f"Failed to process element: {place}{key} of 'instances' list. "
                    f"Error: {error.code.name}: {error.message}"
                ) from None
        if named and row.keys() != dtypes.keys():
            raise _invalid(
                f"Failed to process element: {place} of 'instances' list. JSON object: {excerpt(row)} "
                f"keys must be equal to: {','.join(dtypes)}"
            )
    count = len(instances)  # repeated names in a row give too many values; the first ones are used
    return {
        alias: _array(found[: count * sizes[alias]], dtypes[alias], [count, *shapes[alias]])
        for alias, found in values.items()
    }


def _shape_text(shape: Iterable[int]) -> str:
    return f"[{','.join(map(str, shape))}]"


def _in_bulk(value: Any, dtype: int) -> np.ndarray | None:
    """The tensor of rectangular nested lists with valid values of `dtype`; None for anything else."""
    if type(value) is not list:
        return None
    shape, leaves = [len(value)], value
    while leaves and type(leaves[0]) is list:
        size = len(leaves[0])
        if set(map(type, leaves)) != {list} or set(map(len, leaves)) != {size} or len(shape) == _MAX_RANK:
            return None
        shape.append(size)
        leaves = list(itertools.chain.from_iterable(leaves))
    good = _leaves_in_bulk(leaves, dtype)
    return None if good is None else _array(good, dtype, shape)


def _leaves_in_bulk(leaves: list[Any], dtype: int) -> list[Any] | None:
    """The values of a flat list if all are valid for `dtype`, else None."""
    types = set(map(type, leaves))
    if dtype in _DECIMALS:
        if types <= {int, float}:
            with contextlib.suppress(OverflowError):
                return list(map(float, leaves)) if int in types else leaves
    elif dtype in _INTEGERS:
        low, high = _INTEGERS[dtype]
        if types <= {int} and (not leaves or (low <= min(leaves) and max(leaves) < high)):
            return leaves
    elif dtype == types_pb2.DT_STRING:
        if types <= {str, dict}:
            with contextlib.suppress(ServingError):
                return list(map(read_bytes, leaves))
    elif types <= ({bool} if dtype == types_pb2.DT_BOOL else set()):
        return leaves
    return None


def _array(values: list[Any], dtype: int, shape: Sequence[int]) -> np.ndarray:
    """An array from a flat list of valid values."""
    if dtype == types_pb2.DT_STRING:
        array = np.empty(len(values), object)
        array[:] = values
    else:
        numpy_dtype = tf.as_dtype(dtype).as_numpy_dtype
        takes_int32 = _INTEGERS.get(dtype) == _INT32
        wide = np.float64 if dtype in _DECIMALS else np.int64 if takes_int32 else numpy_dtype
        with np.errstate(over="ignore"):  # values outside the range of float32 become Infinity
            array = np.array(values, wide).astype(numpy_dtype)
    return array.reshape(shape)


def _value_by_value(value: Any, alias: str, dtype: int) -> tuple[list[int], list[Any]]:
    """`(shape, flat list of values)` of a tensor; raises its first error."""
    shape = []
    first = value
    while isinstance(first, list):
        shape.append(len(first))
        if not first:
            break
        first = first[0]
    if len(shape) > _MAX_RANK:
        raise _invalid(f"tensor parsing error: {alias}: more than {_MAX_RANK} dimensions")
    values: list[Any] = []
    _walk(value, 0, shape, dtype, values)
    return shape, values


def _walk(value: Any, level: int, shape: Sequence[int], dtype: int, values: list[Any]) -> None:
    rank = len(shape)
    if not isinstance(value, list):
        if level != rank:
            raise _invalid(
                f"JSON Value: {excerpt(value)} found at incorrect level: {level + 1} in the JSON DOM. "
                f"Expected at level: {rank}"
            )
        values.append(_leaf(value, dtype))
        return
    if level >= rank:
        raise _invalid(f"Encountered list at unexpected level: {level} expected < {rank}")
    if len(value) != shape[level]:
        raise _invalid(
            f"Encountered list at unexpected size: {len(value)} at level: {level} expected size: {shape[level]}"
        )
    if level + 1 < rank:
        for item in value:
            _walk(item, level + 1, shape, dtype, values)
        return
    for start in range(0, len(value), _CHUNK):
        chunk = value[start : start + _CHUNK]
        good = _leaves_in_bulk(chunk, dtype)
        if good is not None:
            values.extend(good)
            continue
        for item in chunk:
            _walk(item, rank, shape, dtype, values)


def _leaf(value: Any, dtype: int) -> Any:
    if dtype == types_pb2.DT_STRING and isinstance(value, (str, dict)):
        return read_bytes(value)
    is_integer = type(value) is int and not is_double(value)
    if dtype in _DECIMALS:
        if is_integer or is_double(value):
            return read_double(value)
    elif dtype in _INTEGERS:
        if is_integer and _INTEGERS[dtype][0] <= value < _INTEGERS[dtype][1]:
            return value
    elif dtype == types_pb2.DT_BOOL:
        if isinstance(value, bool):
            return value
    elif dtype != types_pb2.DT_STRING and not isinstance(value, dict):
        raise ServingError(
            grpc.StatusCode.UNIMPLEMENTED, f"Conversion of JSON Value: {excerpt(value)} to type: {dtype_name(dtype)}"
        )
    raise _invalid(
        f"JSON Value: {excerpt(value)} Type: {json_type(value)} is not of expected type: {dtype_name(dtype)}"
    )
