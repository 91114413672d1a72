"""Converts TensorProto to NumPy and back like TensorFlow, with a limit on the size of compressed values."""

import math
from collections.abc import Sequence
from typing import Any

import grpc
import numpy as np
import tensorflow as tf
from tensorflow.core.framework import tensor_pb2, types_pb2

from export.server.serving_error import ServingError

# A value list may be shorter than the shape: its last value is repeated, so 17 bytes can stand for gigabytes. This is
# the limit for the bytes that repetition adds.
MAX_REPEATED_BYTES = 2**24
_REF = types_pb2.DT_FLOAT_REF - types_pb2.DT_FLOAT
_MAX_RANK = 254  # the limit of TensorShape
_STRING_BYTES = 32  # memory of an empty string in a tensor

_FIELDS = {
    types_pb2.DT_FLOAT: "float_val",
    types_pb2.DT_DOUBLE: "double_val",
    types_pb2.DT_INT32: "int_val",
    types_pb2.DT_INT16: "int_val",
    types_pb2.DT_INT8: "int_val",
    types_pb2.DT_UINT8: "int_val",
    types_pb2.DT_UINT16: "int_val",
    types_pb2.DT_INT64: "int64_val",
    types_pb2.DT_UINT32: "uint32_val",
    types_pb2.DT_UINT64: "uint64_val",
    types_pb2.DT_BOOL: "bool_val",
    types_pb2.DT_STRING: "string_val",
    types_pb2.DT_HALF: "half_val",
    types_pb2.DT_BFLOAT16: "half_val",
    types_pb2.DT_COMPLEX64: "scomplex_val",
    types_pb2.DT_COMPLEX128: "dcomplex_val",
}
# Packed lists of fixed-width numbers have the same bytes as the array, so they can be copied as a block.
_PACKED = {
    types_pb2.DT_FLOAT: b"\x2a",
    types_pb2.DT_DOUBLE: b"\x32",
    types_pb2.DT_COMPLEX64: b"\x4a",
    types_pb2.DT_COMPLEX128: b"\x62",
}
_AS_BITS = (types_pb2.DT_HALF, types_pb2.DT_BFLOAT16)


def to_array(proto: tensor_pb2.TensorProto, alias: str) -> np.ndarray:
    """The array in a `TensorProto`; strings become an object array of bytes.

    Args:
        proto: the message.
        alias: name of the input, for the error.

    Raises:
        ServingError: INVALID_ARGUMENT; the message is not a valid tensor or exceeds the limit.
    """
    try:
        return _to_array(proto, alias)
    except (ValueError, OverflowError, TypeError):  # more or larger dimensions than NumPy supports
        raise _parsing_error(alias) from None


def to_proto(array: np.ndarray, dtype: int, as_content: bool = False) -> tensor_pb2.TensorProto:
    """The `TensorProto` of an array.

    Args:
        array: output of a model.
        dtype: number of its type in `types_pb2`.
        as_content: store raw bytes in `tensor_content` instead of a list of values; not for strings.
    """
    dtype = base_dtype(dtype)
    proto = tensor_pb2.TensorProto(dtype=dtype)
    for size in array.shape:
        proto.tensor_shape.dim.add(size=size)
    if dtype == types_pb2.DT_STRING:
        proto.string_val.extend(array.ravel().tolist())
    elif as_content:
        proto.tensor_content = array.tobytes()
    elif dtype in _PACKED:
        raw = array.tobytes()
        if raw:
            proto.MergeFromString(_PACKED[dtype] + _varint(len(raw)) + raw)
    elif dtype in _AS_BITS:
        proto.half_val.extend(np.ascontiguousarray(array).view(np.uint16).ravel().tolist())
    elif dtype in _FIELDS:
        getattr(proto, _FIELDS[dtype]).extend(array.ravel().tolist())
    else:
        raise ServingError(
            grpc.StatusCode.UNIMPLEMENTED, f"Outputs of {types_pb2.DataType.Name(dtype)} cannot be sent."
        )
    return proto


def base_dtype(number: int) -> int:
    """The plain type of a reference type, which signatures of TensorFlow 1 may have; other types are unchanged."""
    return number - _REF if number > _REF else number


def array_dtype(array: np.ndarray) -> int:
    """The number of the `DataType` of an array; object and text arrays are strings."""
    return types_pb2.DT_STRING if array.dtype.kind in "OSU" else tf.dtypes.as_dtype(array.dtype).as_datatype_enum


def _to_array(proto: tensor_pb2.TensorProto, alias: str) -> np.ndarray:
    field = _FIELDS.get(proto.dtype)
    if field is None or proto.tensor_shape.unknown_rank:
        raise _parsing_error(alias)
    shape = tuple(dim.size for dim in proto.tensor_shape.dim)
    if len(shape) > _MAX_RANK or any(size < 0 for size in shape):
        raise _parsing_error(alias)
    count = math.prod(shape)
    dtype = np.dtype(tf.dtypes.as_dtype(proto.dtype).as_numpy_dtype)
    if proto.tensor_content:
        if dtype.hasobject or len(proto.tensor_content) != count * dtype.itemsize:
            raise _parsing_error(alias)
        return np.frombuffer(proto.tensor_content, dtype).reshape(shape)
    if dtype.hasobject:
        return _strings(proto.string_val, count, shape, alias)
    values = getattr(proto, field)
    per_value = 2 if np.issubdtype(dtype, np.complexfloating) else 1
    given = len(values) // per_value
    if count > given and (count - given) * dtype.itemsize > MAX_REPEATED_BYTES:
        raise _parsing_error(alias, "expands to far more than the message contains")
    if given == 0:
        return np.zeros(shape, dtype)
    return _repeat_last(_numbers(values[: count * per_value], proto.dtype, dtype), count).reshape(shape)


def _strings(values: Sequence[bytes], count: int, shape: tuple[int, ...], alias: str) -> np.ndarray:
    missing = max(0, count - len(values))
    if missing * (_STRING_BYTES + (len(values[-1]) if values else 0)) > MAX_REPEATED_BYTES:
        raise _parsing_error(alias, "expands to far more than the message contains")
    array = np.empty(count, object)
    array[: len(values)] = values[:count]
    array[len(values) :] = values[-1] if values else b""
    return array.reshape(shape)


def _numbers(values: Sequence[Any], number: int, dtype: np.dtype) -> np.ndarray:
    if number in _AS_BITS:
        return np.array(values, np.int64).astype(np.uint16).view(dtype)
    if number in (types_pb2.DT_COMPLEX64, types_pb2.DT_COMPLEX128):
        part = np.float32 if number == types_pb2.DT_COMPLEX64 else np.float64
        return np.array(values, part).view(dtype)
    if number in (types_pb2.DT_INT8, types_pb2.DT_UINT8, types_pb2.DT_INT16, types_pb2.DT_UINT16):
        return np.array(values, np.int64).astype(dtype)  # truncate to the width, like TensorFlow
    return np.array(values, dtype)


def _repeat_last(array: np.ndarray, count: int) -> np.ndarray:
    if len(array) >= count:
        return array[:count]
    return np.concatenate([array, np.broadcast_to(array[-1], count - len(array))])


def _varint(number: int) -> bytes:
    out = bytearray()
    while number > 127:
        out.append(number & 127 | 128)
        number >>= 7
    out.append(number)
    return bytes(out)


def _parsing_error(alias: str, why: str = "") -> ServingError:
    text = f"tensor parsing error: {alias}" + (f" ({why})" if why else "")
    return ServingError(grpc.StatusCode.INVALID_ARGUMENT, text)
