"""The header of an image file, as numbers."""

from collections.abc import Sequence
from typing import NamedTuple

from vl_keras.data.image_headers.byte_reader import Number

MOST_PARTS = 10


class Header(NamedTuple):
    """What a file's bytes tell. In a graph, every number is a scalar int64 tensor.

    Attributes:
        format: `formats.JPEG`, `PNG`, …; above those, a format that is only named; 0 for none.
        height, width: pixels as stored; 0 if unknown.
        orientation: of EXIF, 1 (upright) to 8.
        fault: 0, or why the file must not be decoded: a place in `formats.REASONS`.
        parts: what the decoder of the format must know, at most `MOST_PARTS` numbers; see `read_png` and others.
    """

    format: Number
    height: Number
    width: Number
    orientation: Number = 1
    fault: Number = 0
    parts: Sequence[Number] = ()

    @property
    def numbers(self) -> tuple[Number, ...]:
        """All of it in one row of `HEADER_SIZE` numbers."""
        return (*self[:5], *self.parts, *[0] * (MOST_PARTS - len(self.parts)))

    @classmethod
    def of(cls, numbers: Sequence[Number]) -> "Header":
        """The header whose `numbers` these are."""
        kind, height, width, orientation, fault, *parts = numbers
        return cls(kind, height, width, orientation, fault, parts)


HEADER_SIZE = len(Header(0, 0, 0).numbers)
FORMAT, ORIENTATION, FAULT = (Header._fields.index(name) for name in ("format", "orientation", "fault"))
