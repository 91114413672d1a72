"""Converts arrays to `TensorProto` and back."""

import math
from typing import Any

import numpy as np

from export.client.messages import TensorProto

_MOST_DIMENSIONS = 64  # of an array
_MOST_REPEATED_BYTES = 2**24
_STRING_BYTES = 32  # memory of an empty string in an array
_STRING, _HALF, _BFLOAT16 = 7, 19, 14
# Number of `tensorflow.DataType` -> (name, NumPy type, field of the values).
_TYPES = {
    1: ("float", np.float32, "float_val"),
    2: ("double", np.float64, "double_val"),
    3: ("int32", np.int32, "int_val"),
    4: ("uint8", np.uint8, "int_val"),
    5: ("int16", np.int16, "int_val"),
    6: ("int8", np.int8, "int_val"),
    _STRING: ("string", object, "string_val"),
    8: ("complex64", np.complex64, "scomplex_val"),
    9: ("int64", np.int64, "int64_val"),
    10: ("bool", np.bool_, "bool_val"),
    _BFLOAT16: ("bfloat16", None, "half_val"),
    17: ("uint16", np.uint16, "int_val"),
    18: ("complex128", np.complex128, "dcomplex_val"),
    _HALF: ("half", np.float16, "half_val"),
    22: ("uint32", np.uint32, "uint32_val"),
    23: ("uint64", np.uint64, "uint64_val"),
}
_NUMBERS = {np.dtype(kind): number for number, (_, kind, _) in _TYPES.items() if kind is not None}


def dtype_name(number: int) -> str:
    """The name of a `tensorflow.DataType`, e.g. `float` for 1."""
    return _TYPES[number][0] if number in _TYPES else f"type {number}"


def to_array(value: Any) -> np.ndarray:
    """Converts the value of a caller to an array that can be sent.

    Strings become UTF-8 bytes in an object array. Like in TensorFlow, Python floats become float32 and Python integers
    int32 (int64 if one does not fit); arrays keep their types.

    Raises:
        TypeError: the lists are ragged or contain other types.
    """
    array = value if isinstance(value, np.ndarray) else _from_python(value)
    if array.dtype.kind in "USO":
        strings = np.empty(array.size, object)
        for place, item in enumerate(array.ravel().tolist()):
            if not isinstance(item, (str, bytes)):
                raise TypeError(
                    f"Lists must be rectangular and contain strings, bytes or numbers; found {type(item).__name__}."
                )
            strings[place] = item.encode() if isinstance(item, str) else item
        return strings.reshape(array.shape)
    if array.dtype not in _NUMBERS:
        raise TypeError(f"Arrays of {array.dtype} cannot be sent.")
    return array


def to_proto(array: np.ndarray) -> Any:
    """The `TensorProto` of an array from `to_array`."""
    proto = TensorProto(dtype=_NUMBERS[array.dtype])
    for size in array.shape:
        proto.tensor_shape.dim.add(size=size)
    if array.dtype == object:
        proto.string_val.extend(array.ravel().tolist())
    else:
        proto.tensor_content = array.tobytes()
    return proto


def from_proto(proto: Any) -> np.ndarray:
    """The array of a `TensorProto`: strings as object array of bytes, bfloat16 as float32.

    Raises:
        ValueError: the type is not supported, or the message is no tensor or stands for far more than it contains.
    """
    if proto.dtype not in _TYPES:
        raise ValueError(f"the server sent a tensor of type {proto.dtype}, which is not supported")
    kind: Any
    _, kind, field = _TYPES[proto.dtype]
    shape = tuple(dim.size for dim in proto.tensor_shape.dim)
    if len(shape) > _MOST_DIMENSIONS or min(shape, default=0) < 0:
        raise ValueError("the server sent a tensor of an impossible shape")
    count = math.prod(shape)
    if proto.tensor_content:
        raw: np.ndarray = np.frombuffer(proto.tensor_content, np.uint16 if kind is None else kind)
        return (_widen(raw) if kind is None else raw).reshape(shape)
    values = getattr(proto, field)
    if kind is object:
        array = np.empty(len(values), object)
        array[:] = values
    elif proto.dtype in (_HALF, _BFLOAT16):
        bits = np.array(values, np.uint16)
        array = _widen(bits) if kind is None else bits.view(kind)
    elif field.endswith("complex_val"):
        array = np.array(values, np.float32 if kind is np.complex64 else np.float64).view(kind)
    else:
        array = np.array(values, kind)
    if 0 < len(array) < count:  # a list may be shorter: its last value repeats
        size = len(array[-1]) + _STRING_BYTES if kind is object else array.itemsize
        if (count - len(array)) * size > _MOST_REPEATED_BYTES:
            raise ValueError(f"the server sent a tensor of {count} values, but only {len(array)} of them")
        array = np.concatenate([array, np.repeat(array[-1:], count - len(array))])
    return array.reshape(shape)


def _from_python(value: Any) -> np.ndarray:
    if isinstance(value, (str, bytes)):
        array = np.empty((), object)
        array[()] = value
        return array
    array = np.asarray(value, object)
    flat = array.ravel().tolist()
    if any(isinstance(item, (str, bytes)) for item in flat):
        return array  # as objects, because string arrays of NumPy drop trailing zero bytes
    array = np.asarray(value)
    if array.dtype == np.float64:
        return array.astype(np.float32)
    if array.dtype == np.int64 and array.size and np.abs(array).max() < 2**31:
        return array.astype(np.int32)
    return array


def _widen(bits: np.ndarray) -> np.ndarray:
    return (bits.astype(np.uint32) << 16).view(np.float32)
