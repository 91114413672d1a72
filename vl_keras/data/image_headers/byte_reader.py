"""The operations in which the header rules are written, on bytes in Python."""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from vl_keras.data.image_headers.jpeg_markers import (
    APP1,
    BARE,
    EXIF,
    FILL,
    FRAME,
    KINDS,
    MOST_WINDOWS,
    ODD,
    SCAN,
    SEGMENTS,
    WINDOW,
    Segments,
)

HEAD = 12  # bytes among which a format is told

Number = Any  # an int, or a scalar int64 tensor
Flag = Any  # a bool, or a scalar bool tensor

# 0xFF, then neither 0x00 (a stuffed byte), 0xFF (a fill byte) nor a restart marker (ITU-T T.81, B.1.1)
_MARKER = re.compile(rb"\xff[^\x00\xff\xd0-\xd7]", re.DOTALL)


class Reader(Protocol):
    """Reads the bytes of one file. Places count from 0; bytes beyond the end read as zero.

    Attributes:
        length: number of bytes.
    """

    length: Number

    def big(self, place: Number, count: int) -> Number:
        """The number of `count` bytes (1 to 6) at `place`, the highest byte first."""

    def little(self, place: Number, count: int) -> Number:
        """The number of `count` bytes (1 to 6) at `place`, the lowest byte first."""

    def where(self, condition: Flag, yes: Number, no: Number) -> Number:
        """`yes` or `no`."""

    def no(self, condition: Flag) -> Flag:
        """The opposite."""

    def is_one_of(self, value: Number, values: Sequence[int]) -> Flag:
        """Whether `value` is among `values`."""

    def loop(self, body: Callable[..., tuple[Any, ...]], state: tuple[Any, ...], most: int) -> tuple[Any, ...]:
        """Applies `body` to the state, whose first element says whether to go on, at most `most` times."""

    def switch(self, number: Number, cases: Sequence[Callable[[], Sequence[Number]]], size: int) -> Sequence[Number]:
        """The `size` numbers that the case of this number returns; only that case runs. The first is the usual one."""

    def choose(self, cases: Sequence[tuple[Flag, int]]) -> Number:
        """The number of the first case that holds; 0 if none does."""

    def sniff(self, magics: Sequence[Mapping[int, bytes]]) -> Number:
        """Place, counted from 1, of the first of `magics` (dicts of place -> bytes) with which the file begins; or 0.

        Places are below `HEAD`.
        """

    def run(self, place: Number, count: int, stride: Number, most: int) -> Number:
        """How many of the places `place`, `place + stride`, … in a row hold the same `count` bytes; 1 to `most`."""

    def find(self, place: Number, stride: int, value: Number, is_little: Flag, count: Number, most: int) -> Number:
        """The first k below `count` (and `most`) where two bytes at `place + k * stride` are `value`; -1 if none is."""

    def jpeg_segments(self) -> Segments:
        """Walks the segments of a JPEG from byte 2 to the first scan."""

    def count_scans(self, place: Number) -> Number:
        """How often the two bytes of a scan's marker stand after `place`: at least as often as there are scans."""

    def next_markers(self) -> Callable[[Number], Number]:
        """A function that says where the first marker of a JPEG at or after a place is; `length` if none is.

        Restart markers, which stand within the compressed data, do not count.
        """

    def has_end_marker(self, place: Number) -> Flag:
        """Whether the end marker of a JPEG stands anywhere after `place`."""


class ByteReader:
    """`Reader` of `bytes`."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self.length = len(data)

    def big(self, place: int, count: int) -> int:
        part = self._data[place : place + count]
        return int.from_bytes(part if len(part) == count else part.ljust(count, b"\0"))

    def little(self, place: int, count: int) -> int:
        return int.from_bytes(self._data[place : place + count], "little")

    def where(self, condition: bool, yes: Any, no: Any) -> Any:
        return yes if condition else no

    def no(self, condition: bool) -> bool:
        return not condition

    def is_one_of(self, value: int, values: Sequence[int]) -> bool:
        return value in values

    def loop(self, body: Callable[..., tuple[Any, ...]], state: tuple[Any, ...], most: int) -> tuple[Any, ...]:
        for _ in range(most):
            if not state[0]:
                break
            state = body(*state)
        return state

    def switch(self, number: int, cases: Sequence[Callable[[], Sequence[int]]], size: int) -> Sequence[int]:
        return cases[number]()

    def choose(self, cases: Sequence[tuple[bool, int]]) -> int:
        for holds, number in cases:
            if holds:
                return number
        return 0

    def sniff(self, magics: Sequence[Mapping[int, bytes]]) -> int:
        for number, magic in enumerate(magics, 1):
            if all(self._data.startswith(content, place) for place, content in magic.items()):
                return number
        return 0

    def run(self, place: int, count: int, stride: int, most: int) -> int:
        first, found = self._data[place : place + count], 1
        while found < most:
            start = place + found * stride
            if start + count > self.length or self._data[start : start + count] != first:
                break
            found += 1
        return found

    def find(self, place: int, stride: int, value: int, is_little: bool, count: int, most: int) -> int:
        wanted = value.to_bytes(2, "little" if is_little else "big")
        for k in range(min(count, most)):
            start = place + k * stride
            if start >= self.length:
                break
            if self._data[start : start + 2] == wanted:
                return k
        return -1

    def jpeg_segments(self) -> Segments:
        data, place, frame, exif = self._data, 2, 0, 0
        base, segments, windows = place, 0, 1
        while True:
            if place - base >= WINDOW or segments == SEGMENTS:
                base, segments, windows = place, 0, windows + 1
                if windows > MOST_WINDOWS:
                    return Segments(frame, exif, 0, False, place, True)
            segments += 1
            head = data[place : place + 4].ljust(4, b"\0")
            kind, size = KINDS[head[1]] if head[0] == 0xFF else ODD, 256 * head[2] + head[3]
            if kind == BARE:
                place += 2
            elif kind == FILL:
                place += 1
            elif kind == ODD or size < 2 or (kind == FRAME and frame):
                return Segments(frame, exif, 0, True, place, False)
            elif kind == SCAN:
                return Segments(frame, exif, place, False, place, False)
            else:
                if kind == FRAME:
                    frame = place
                elif kind == APP1 and not exif and data.startswith(EXIF, place + 4):
                    exif = place + 10
                place += 2 + size

    def count_scans(self, place: int) -> int:
        return self._data.count(b"\xff\xda", place + 2)

    def next_markers(self) -> Callable[[int], int]:
        def following(place: int) -> int:
            found = _MARKER.search(self._data, place)
            return found.start() if found else self.length

        return following

    def has_end_marker(self, place: int) -> bool:
        return self._data.rfind(b"\xff\xd9") > place
