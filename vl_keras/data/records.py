"""Random access to TFRecord files that skips what is damaged."""

import mmap
import struct
from collections.abc import Iterable
from pathlib import Path

import google_crc32c
import numpy as np

_HEADER = 12  # bytes: record length (uint64) and its checksum (uint32), little-endian
_FOOTER = 4  # bytes: checksum of the data
_INDEX_TYPE = np.dtype([("file", "<u4"), ("offset", "<u8"), ("length", "<u8"), ("crc", "<u4")])


class RecordReader:
    """The records of one or more TFRecord files, by number.

    The format is TensorFlow's (`tensorflow/core/lib/io/record_writer.h`): length, masked CRC32C of the length, data,
    masked CRC32C of the data. Files are mapped into memory and checked once, when the index is built; each record is
    checked again when it is read. A record with a wrong checksum is skipped and listed. After a damaged length, reading
    continues at the next valid header.

    Args:
        paths: the files, in order.
        index: `index` of an earlier reader of the same files; it saves the scan.

    Attributes:
        index: structured array, one row for each record: `file`, `offset` of the data in bytes, `length`, `crc`.
        damage: `(file name and byte, reason)` of everything that the scan skipped.
    """

    def __init__(self, paths: Iterable[str | Path], index: np.ndarray | None = None) -> None:
        self.paths = [Path(path) for path in paths]
        self._maps = [_map_file(path) for path in self.paths]
        self.damage: list[tuple[str, str]] = []
        if index is None:
            parts = [self._scan(number) for number in range(len(self.paths))]
            index = np.concatenate(parts) if parts else np.zeros(0, _INDEX_TYPE)
        self.index = index

    def __len__(self) -> int:
        return len(self.index)

    def read(self, number: int) -> bytes | None:
        """The bytes of record `number`, or None if their checksum is wrong by now."""
        file, offset, length, crc = self.index[number].item()
        data = self._maps[file][offset : offset + length]
        return data if len(data) == length and masked_crc(data) == crc else None

    def _scan(self, number: int) -> np.ndarray:
        content, position = self._maps[number], 0
        rows: list[tuple[int, int, int, int]] = []
        name, size = self.paths[number].name, len(content)
        while position < size:
            length = _record_length(content, position)
            if length is not None and position + _HEADER + length + _FOOTER <= size:
                start, end = position + _HEADER, position + _HEADER + length
                crc = masked_crc(content[start:end])
                following = end + _FOOTER
                if struct.unpack_from("<I", content, end)[0] == crc:
                    rows.append((number, start, length, crc))
                    position = following
                    continue
                reason = "wrong checksum of the data"
                if following == size or _record_length(content, following) is not None:
                    self.damage.append((f"{name} at byte {position}", reason))
                    position = following
                    continue
            else:
                reason = "the file ends within the record" if length is not None else "wrong checksum of the length"
            found = _next_record(content, position + 1)
            self.damage.append((f"{name} at byte {position}", f"{reason}; {found - position} bytes skipped"))
            position = found
        return np.array(rows, _INDEX_TYPE)


def masked_crc(data: bytes) -> int:
    """CRC32C of `data`, masked (rotated, plus a constant) as in TFRecord files."""
    crc = google_crc32c.value(data)
    return (((crc >> 15) | (crc << 17)) + 0xA282EAD8) & 0xFFFFFFFF


def _map_file(path: Path) -> bytes | mmap.mmap:
    with path.open("rb") as file:
        if not path.stat().st_size:
            return b""  # an empty file cannot be mapped
        return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)


def _record_length(content: bytes | mmap.mmap, position: int) -> int | None:
    """The record length in a header at `position`, or None if the header's checksum is wrong."""
    header = content[position : position + _HEADER]
    if len(header) < _HEADER:
        return None
    length, crc = struct.unpack("<QI", header)
    return length if masked_crc(header[:8]) == crc else None


def _next_record(content: bytes | mmap.mmap, start: int, block: int = 1 << 20) -> int:
    """First position from `start` on with a valid header whose record fits into the file; else the file's size."""
    size = len(content)
    while start < size:
        view = np.frombuffer(content[start : start + block + _HEADER], np.uint8)
        last = len(view) - _HEADER
        if last < 0:
            break
        # A checksum at every byte would be slow. Lengths below 4 GiB contain four zero bytes, which few places have.
        zero = view == 0
        places = np.flatnonzero(zero[4 : last + 5] & zero[5 : last + 6] & zero[6 : last + 7] & zero[7 : last + 8])
        for place in places:
            position = start + int(place)
            length = _record_length(content, position)
            if length is not None and position + _HEADER + length + _FOOTER <= size:
                return position
        start += block
    return size
