"""The markers of a JPEG (ITU-T T.81, table B.1), and what a walk over its segments finds."""

from typing import Any, NamedTuple

# Kinds of markers.
ODD, SIZED, BARE, FILL, FRAME, SCAN, APP1 = range(7)
FRAMES = tuple(marker for marker in range(0xC0, 0xD0) if marker not in (0xC4, 0xC8, 0xCC))
_TABLES_AND_TEXTS = (0xC4, 0xCC, 0xDB, 0xDC, 0xDD, *range(0xE0, 0xF0), 0xFE)
KINDS = tuple(
    FRAME
    if marker in FRAMES
    else SCAN
    if marker == 0xDA
    else APP1
    if marker == 0xE1
    else FILL
    if marker == 0xFF
    else BARE
    if marker == 0x01 or 0xD0 <= marker < 0xD8  # TEM and restarts carry no length
    else SIZED
    if marker in _TABLES_AND_TEXTS
    else ODD  # a decoder would look for the next segment somewhere behind it
    for marker in range(256)
)

# A walk looks at windows of so many bytes and so many segments; a bound on windows bounds its time.
WINDOW, SEGMENTS, MOST_WINDOWS = 1024, 32, 100
EXIF = b"Exif\0\0"


class Segments(NamedTuple):
    """What stands before the first scan of a JPEG. Places are 0 where there is none.

    Attributes:
        frame: place of the frame's marker.
        exif: place of the first EXIF block, after its name.
        scan: place of the first scan's marker.
        is_odd: bytes stand where a marker must, or there are two frames.
        place: where the walk ended.
        are_many: the walk ended because of `MOST_WINDOWS`.
    """

    frame: Any
    exif: Any
    scan: Any
    is_odd: Any
    place: Any
    are_many: Any
