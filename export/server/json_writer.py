"""Writes JSON like TensorFlow Serving: the `PrettyWriter` of RapidJSON with a special rule for decimals."""

import itertools
import json
import math
import re
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import numpy as np

from export.server.json_reader import is_double, members, read_double

EXCERPT_BYTES = 256  # of a JSON value that an error message quotes
_CHUNK = 8192  # numbers formatted in one call, which holds the GIL

_MUST_ESCAPE = re.compile(rb'["\\\x00-\x1f]')
_ESCAPES = {
    bytes([code]): {8: b"\\b", 9: b"\\t", 10: b"\\n", 12: b"\\f", 13: b"\\r"}.get(code, b"\\u%04X" % code)
    for code in range(0x20)
} | {b'"': b'\\"', b"\\": b"\\\\"}


def write_string(value: bytes) -> bytes:
    """A JSON string with quotes. Like in TensorFlow Serving, bytes that are not UTF-8 are unchanged."""
    if _MUST_ESCAPE.search(value):
        value = _MUST_ESCAPE.sub(lambda match: _ESCAPES[match[0]], value)
    return b'"' + value + b'"'


def write_decimals(values: np.ndarray) -> list[bytes]:
    """Formats decimals like TensorFlow Serving.

    With 6 significant digits if they identify the number, else with 9 (float32) or 17 (float64); `.0` after whole
    numbers; `NaN`, `Infinity`, `-Infinity`.

    Args:
        values: `(n,)` float32 or float64.

    Returns:
        One bytes object per number.
    """
    full = b"%.9g" if values.dtype == np.float32 else b"%.17g"
    texts = []
    for start in range(0, len(values), _CHUNK):
        chunk = values[start : start + _CHUNK]
        numbers = chunk.tolist()
        shorts = (b"%.6g " * len(numbers) % tuple(numbers)).split()
        with np.errstate(over="ignore", invalid="ignore"):
            back = np.array([float(text) for text in shorts], np.float64).astype(chunk.dtype)
        for place in np.flatnonzero(back != chunk).tolist():
            if numbers[place] == numbers[place]:
                shorts[place] = full % numbers[place]
        texts += [text if b"." in text or b"e" in text else text + b".0" for text in shorts]
        for place in np.flatnonzero(~np.isfinite(chunk)).tolist():
            number = numbers[place]
            texts[start + place] = b"NaN" if number != number else b"Infinity" if number > 0 else b"-Infinity"
    return texts


def write_decimal(value: np.floating) -> bytes:
    """`write_decimals` for one NumPy float."""
    return write_decimals(np.array([value]))[0]


def write_error(message: str) -> bytes:
    """The body of an error response."""
    return b'{\n    "error": ' + write_string(message.encode("utf-8", "replace")) + b"\n}"


def excerpt(value: Any) -> str:
    """The excerpt of a JSON value for an error message: pretty-printed, at most 256 bytes."""
    if is_double(value):
        value = read_double(value)
        single = abs(value) <= 3.4028234e38
        return write_decimal(np.float32(value) if single else np.float64(value)).decode()
    printed = bytearray()
    for piece in _pretty(value, 0):
        printed += piece
        if len(printed) >= EXCERPT_BYTES:
            break
    return bytes(printed[:EXCERPT_BYTES]).decode("utf-8", "ignore")


def _pretty(value: Any, depth: int) -> Iterator[bytes]:
    """Pieces of the pretty-printed value. Indentation reaches 256 bytes long before the recursion limit of Python."""
    if isinstance(value, (list, dict)):
        is_list = isinstance(value, list)
        yield b"[" if is_list else b"{"
        indent = b"\n" + b"    " * (depth + 1)
        pairs: Any = members(value) if isinstance(value, dict) else zip(itertools.repeat(None), value, strict=False)
        for place, (name, item) in enumerate(pairs):
            yield b"," + indent if place else indent
            if not is_list:
                yield write_string(name.encode("utf-8", "surrogateescape")) + b": "
            yield from _pretty(item, depth + 1)
        if value:
            yield b"\n" + b"    " * depth
        yield b"]" if is_list else b"}"
    elif isinstance(value, str):
        yield write_string(value[:EXCERPT_BYTES].encode("utf-8", "surrogateescape"))
    elif is_double(value):
        yield _shortest(read_double(value))
    else:
        yield b"null" if value is None else json.dumps(value).encode()


def _shortest(value: float) -> bytes:
    """A double like in RapidJSON: the shortest exact decimal, with an exponent from 1e21 on and below 1e-6."""
    if value == 0 or not math.isfinite(value):
        return write_decimal(np.float64(value))
    sign, numbers, exponent = Decimal(repr(value)).normalize().as_tuple()
    assert isinstance(exponent, int)  # the value is finite
    digits = "".join(map(str, numbers))
    point = len(digits) + exponent
    if len(digits) <= point <= 21:
        text = digits.ljust(point, "0") + ".0"
    elif 0 < point <= 21:
        text = f"{digits[:point]}.{digits[point:]}"
    elif -6 < point <= 0:
        text = "0." + "0" * -point + digits
    else:
        text = f"{digits[0]}{'.' if len(digits) > 1 else ''}{digits[1:]}e{point - 1}"
    return (("-" if sign else "") + text).encode()
