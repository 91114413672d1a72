"""Reads JSON like the parser of TensorFlow Serving: RapidJSON 1.1.0 with `kParseNanAndInfFlag`.

The C scanner of Python reads everything on which the two parsers agree. Other documents are read again by
`_read_exactly`, which finds the result of RapidJSON, or its error and byte offset. Known differences: decimals are
rounded correctly (the fast path of RapidJSON is up to 3 units off in the last place), and the number of values in a
document that is nested deeply, or not by the book, is limited.
"""

import itertools
import json
import math
import re
from collections.abc import Collection, Sequence
from typing import Any

import grpc

from export.server.serving_error import ServingError

_MAX_CONTAINERS = 3_000_000  # lists and objects in one document: about 300 MB
_DEEP = 500  # lists and objects inside each other; a tensor has at most 254 dimensions
_MAX_EXACT = 200_000  # values that `_read_exactly` reads: about one second

_SPACE = re.compile(rb"[ \n\r\t]*")
_PLAIN_TEXT = re.compile(rb'[^"\\\x00-\x1f]*')
_INTEGER = re.compile(rb"-?(?:0|[1-9][0-9]*)")
_DIGITS = re.compile(rb"[0-9]*")
_SURROGATE_ESCAPE = re.compile(rb"\\u[dD][89a-fA-F]")
_ESCAPES = {b'"': b'"', b"/": b"/", b"\\": b"\\", b"b": b"\b", b"f": b"\f", b"n": b"\n", b"r": b"\r", b"t": b"\t"}
_LITERALS = {b"n": (b"null", None), b"t": (b"true", True), b"f": (b"false", False)}


class RepeatedNames(dict):
    """A JSON object with repeated names. As a dict it contains the first value of each name; `pairs` contains all."""

    def __init__(self, pairs: Sequence[tuple[str, Any]]) -> None:
        super().__init__(reversed(pairs))
        self.pairs = pairs


def read_json(body: bytes) -> Any:
    """Reads the JSON value at the start of a request; the rest is ignored.

    Args:
        body: bytes.

    Returns:
        None, bool, int, float, str, list or dict (`RepeatedNames` if a name is repeated). Bytes that are not UTF-8 are
        kept: `text.encode("utf-8", "surrogateescape")` returns the bytes of a string.

    Raises:
        ServingError: INVALID_ARGUMENT, with the message and byte offset of RapidJSON.
    """
    if not body:
        raise ServingError(grpc.StatusCode.INVALID_ARGUMENT, "JSON Parse error: The document is empty")
    if body.count(b"[") + body.count(b"{") > _MAX_CONTAINERS:
        raise ServingError(
            grpc.StatusCode.INVALID_ARGUMENT, f"JSON Parse error: more than {_MAX_CONTAINERS} lists and objects."
        )
    start = _skip_byte_order_mark(body)
    first = _skip_space(body, start)
    too_long = "more values than are read beside escaped surrogates."
    if body[first : first + 1] in (b"{", b"[") and not _SURROGATE_ESCAPE.search(body):
        text = body[first:].decode("utf-8", "surrogateescape")
        try:
            return _DECODER.raw_decode(text)[0]
        except RecursionError:  # perhaps below a key that nobody reads
            too_long = f"nested too deeply for more than {_MAX_EXACT} values."
        except ValueError as error:  # read again: for the exact error, or because only RapidJSON accepts it
            too_long = f"Invalid value. at offset: {first + getattr(error, 'pos', 0)}"
    return _read_exactly(body, start, too_long)


def members(value: dict[str, Any]) -> Collection[tuple[str, Any]]:
    """`(name, value)` of every member of a JSON object, in order and with repeated names."""
    return value.pairs if isinstance(value, RepeatedNames) else value.items()


def is_double(value: Any) -> bool:
    """Whether a value is a number that fits neither into int64 nor into uint64."""
    return isinstance(value, float) or (type(value) is int and not -(2**63) <= value < 2**64)


def read_double(value: float) -> float:
    """A number as float.

    Raises:
        ServingError: it is an integer outside the range of double.
    """
    try:
        return float(value)
    except OverflowError:
        text = "JSON Parse error: Number too big to be stored in double."
        raise ServingError(grpc.StatusCode.INVALID_ARGUMENT, text) from None


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    return value if len(value) == len(pairs) else RepeatedNames(pairs)


def _float(text: str) -> float:
    # Deliberately a Python function: the scanner holds the GIL, and each call here can release it.
    value = float(text)
    if value - value != 0:
        raise ValueError("beyond double")
    return value


_DECODER = json.JSONDecoder(object_pairs_hook=_object, parse_float=_float)


def _error(text: str, offset: int) -> ServingError:
    return ServingError(grpc.StatusCode.INVALID_ARGUMENT, f"JSON Parse error: {text} at offset: {offset}")


def _skip_byte_order_mark(body: bytes) -> int:
    position = 0
    for byte in b"\xef\xbb\xbf":  # RapidJSON skips each byte separately
        if body[position : position + 1] == bytes([byte]):
            position += 1
    return position


def _read_exactly(body: bytes, position: int, too_long: str = "") -> Any:
    """`read_json` by the rules of RapidJSON alone, without recursion; `too_long`: the error for too many values."""
    position = _skip_space(body, position)
    if body[position : position + 1] in (b"", b"\0"):
        raise _error("The document is empty.", position)
    open_containers: list[tuple[list[Any], str | None]] = []  # (items, None) or (pairs, name of the next member)
    value: Any
    name: str | None
    for count in itertools.count():
        if count == _MAX_EXACT:
            raise ServingError(grpc.StatusCode.INVALID_ARGUMENT, f"JSON Parse error: {too_long}")
        first = body[position : position + 1]
        if first == b"[":
            position = _skip_space(body, position + 1)
            if body[position : position + 1] != b"]":
                open_containers.append(([], None))
                _check_end(open_containers, body)
                continue
            value, position = [], position + 1
        elif first == b"{":
            position = _skip_space(body, position + 1)
            if body[position : position + 1] != b"}":
                name, position = _read_name(body, position)
                open_containers.append(([], name))
                _check_end(open_containers, body)
                continue
            value, position = {}, position + 1
        elif first == b'"':
            value, position = _read_string(body, position)
        elif first in _LITERALS:
            value, position = _read_literal(body, position)
        else:
            value, position = _read_number(body, position)

        while open_containers:  # the value belongs to the innermost container, which may end here
            items, name = open_containers[-1]
            position = _skip_space(body, position)
            after = body[position : position + 1]
            items.append(value if name is None else (name, value))
            if after == b",":
                position = _skip_space(body, position + 1)
                if name is not None:
                    name, position = _read_name(body, position)
                    open_containers[-1] = (items, name)
                break
            if after != (b"]" if name is None else b"}"):
                what = "] after an array element." if name is None else "} after an object member."
                raise _error(f"Missing a comma or {what}", position)
            position += 1
            value = items if name is None else _object(items)
            open_containers.pop()
        else:
            return value


def _skip_space(body: bytes, position: int) -> int:
    return _SPACE.match(body, position).end()  # type: ignore[union-attr]  # it matches everywhere


def _check_end(open_containers: Sequence[Any], body: bytes) -> None:
    """Rejects at once what is nested deeply and cannot end, instead of reading all of it."""
    if len(open_containers) == _DEEP and body.count(b"]") + body.count(b"}") < _DEEP:
        text = "JSON Parse error: The document is nested deeply and does not end."
        raise ServingError(grpc.StatusCode.INVALID_ARGUMENT, text)


def _read_name(body: bytes, position: int) -> tuple[str, int]:
    if body[position : position + 1] != b'"':
        raise _error("Missing a name for object member.", position)
    name, position = _read_string(body, position)
    position = _skip_space(body, position)
    if body[position : position + 1] != b":":
        raise _error("Missing a colon after a name of object member.", position)
    return name, _skip_space(body, position + 1)


def _read_literal(body: bytes, start: int) -> tuple[bool | None, int]:
    text, value = _LITERALS[body[start : start + 1]]
    matching = _common_length(body, start, text)
    if matching < len(text):
        raise _error("Invalid value.", start + matching)
    return value, start + matching


def _common_length(body: bytes, start: int, text: bytes) -> int:
    length = 0
    while length < len(text) and body[start + length : start + length + 1] == text[length : length + 1]:
        length += 1
    return length


def _read_string(body: bytes, position: int) -> tuple[str, int]:
    position += 1
    parts = []
    while True:
        end = _PLAIN_TEXT.match(body, position).end()  # type: ignore[union-attr]  # it matches everywhere
        parts.append(body[position:end])
        stop = body[end : end + 1]
        if stop == b'"':
            return b"".join(parts).decode("utf-8", "surrogateescape"), end + 1
        if stop in (b"", b"\0"):
            raise _error("Missing a closing quotation mark in string.", end)
        if stop != b"\\":
            raise _error("Invalid escape character in string.", end)
        escape = body[end + 1 : end + 2]
        if escape in _ESCAPES:
            parts.append(_ESCAPES[escape])
            position = end + 2
        elif escape == b"u":
            code, position = _read_code_point(body, end)
            parts.append(chr(code).encode("utf-8", "surrogatepass"))  # RapidJSON accepts a lone low surrogate
        else:
            raise _error("Invalid escape character in string.", end)


def _read_code_point(body: bytes, escape: int) -> tuple[int, int]:
    high = _read_hex(body, escape + 2, escape)
    if not 0xD800 <= high <= 0xDBFF:
        return high, escape + 6
    if body[escape + 6 : escape + 8] != b"\\u":
        raise _error("The surrogate pair in string is invalid.", escape)
    low = _read_hex(body, escape + 8, escape)
    if not 0xDC00 <= low <= 0xDFFF:
        raise _error("The surrogate pair in string is invalid.", escape)
    return 0x10000 + ((high - 0xD800) << 10 | (low - 0xDC00)), escape + 12


def _read_hex(body: bytes, position: int, escape: int) -> int:
    digits = body[position : position + 4]
    if not re.fullmatch(rb"[0-9a-fA-F]{4}", digits):
        raise _error("Incorrect hex digit after \\u escape in string.", escape)
    return int(digits, 16)


def _read_number(body: bytes, start: int) -> tuple[int | float, int]:
    integer = _INTEGER.match(body, start)
    if not integer:
        return _read_not_finite(body, start)
    position = integer.end()
    digits = integer[0].lstrip(b"-")
    fraction = b""
    is_float = False
    if len(digits) > 309 or (len(digits) == 309 and float(digits[:-1]) >= 1.7976931348623157e307):
        raise _error("Number too big to be stored in double.", start)
    if body[position : position + 1] == b".":
        is_float = True
        fraction = _DIGITS.match(body, position + 1)[0]  # type: ignore[index]  # it matches everywhere
        if not fraction:
            raise _error("Miss fraction part in number.", position + 1)
        position += 1 + len(fraction)
    if body[position : position + 1] in (b"e", b"E"):
        is_float = True
        position += 1
        sign = body[position : position + 1] if body[position : position + 1] in (b"+", b"-") else b""
        position += len(sign)
        exponent = _DIGITS.match(body, position)[0]  # type: ignore[index]
        if not exponent:
            raise _error("Miss exponent in number.", position)
        position += len(exponent)
        exponent = exponent.lstrip(b"0")
        if sign != b"-" and exponent and (len(exponent) > 9 or int(exponent) > 308 + _used_digits(digits, fraction)):
            raise _error("Number too big to be stored in double.", start)
    text = body[start:position]
    if is_float:
        return float(text), position
    return int(text), position


def _used_digits(digits: bytes, fraction: bytes) -> int:
    """The number of digits of the fraction that RapidJSON uses: up to the 17th significant digit."""
    significant = 0 if digits == b"0" else len(digits)
    zeros = len(fraction) - len(fraction.lstrip(b"0")) if not significant else 0
    return min(len(fraction), zeros + max(0, 17 - significant))


def _read_not_finite(body: bytes, start: int) -> tuple[float, int]:
    negative = body[start : start + 1] == b"-"
    position = start + negative
    if body[position : position + 1] == b"N":
        matching = _common_length(body, position, b"NaN")
        if matching == 3:
            return math.nan, position + 3
    else:
        matching = _common_length(body, position, b"Infinity")
        if matching in (3, 8):
            return (-math.inf if negative else math.inf), position + matching
    raise _error("Invalid value.", position + matching)
