"""What an image's bytes tell without decoding: a bomb of 100,000 x 100,000 pixels must not be decoded to find out."""

import struct

_JPEG_SIZE_MARKERS = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}  # start of frame, baseline to arithmetic
_JPEG_BARE_MARKERS = frozenset(range(0xD0, 0xD8)) | {0x01}  # restart markers and TEM carry no length


def stored_size(data: bytes) -> tuple[int, int] | None:
    """`(height, width)` in stored pixels from the header of a JPEG, PNG, GIF, BMP or WebP file.

    Args:
        data: `bytes` of the file; only its headers are looked at.

    Returns:
        `(height, width)`, or None where the bytes are no such image or end before they say.
    """
    try:
        if data[:3] == b"\xff\xd8\xff":
            return _jpeg_size(data)
        if data[:8] == b"\x89PNG\r\n\x1a\n":
            width, height = struct.unpack_from(">II", data, 16)
        elif data[:6] in (b"GIF87a", b"GIF89a"):
            width, height = struct.unpack_from("<HH", data, 6)
        elif data[:2] == b"BM":
            width, height = struct.unpack_from("<ii", data, 18)  # a negative height: rows stored from the top
        elif data[:4] == b"RIFF" and data[8:12] == b"WEBP":
            return _webp_size(data)
        else:
            return None
    except (struct.error, IndexError):
        return None
    return abs(height), abs(width)


def is_cut_short(data: bytes) -> bool:
    """True for the bytes of a JPEG whose end is missing, which a decoder that reads only a crop would not notice."""
    if data[:3] != b"\xff\xd8\xff":
        return False
    try:
        start = _jpeg_frame(data)
    except (struct.error, IndexError):
        return True
    return start is not None and data.rfind(b"\xff\xd9") < start  # a thumbnail's own end lies before the frame


def has_color_table(data: bytes) -> bool:
    """True for the bytes of a BMP whose pixels are places in a table of colours, which TensorFlow takes for greys."""
    if data[:2] != b"BM" or data[28:30] != b"\x08\x00":  # it refuses those of fewer bits a pixel
        return False
    start, header = struct.unpack_from("<II", data, 10)
    table = data[14 + header : start]
    return any(table[4 * i : 4 * i + 3] != bytes((i, i, i)) for i in range(len(table) // 4))


def find_fault(data: bytes, size: tuple[int, int] | None, max_pixels: int) -> str | None:
    """Why `data`, whose header gives `size`, must not be decoded, or None."""
    if size is None:
        return "no JPEG, PNG, BMP, GIF or WebP image, or its header is cut short"
    if size[0] * size[1] > max_pixels:
        return f"{size[0]} x {size[1]} pixels are more than `data.max_pixels` ({max_pixels})"
    if is_cut_short(data):
        return "cut short: the end of the JPEG is missing"
    if has_color_table(data):
        return "a BMP with a table of colours, whose colours TensorFlow does not read; store it as PNG"
    return None


def has_exif(data: bytes) -> bool:
    """True for a JPEG that begins with an EXIF block, straight away or after a JFIF segment."""
    return b"Exif\x00\x00" in (data[6:12], data[24:30])


def _jpeg_size(data: bytes) -> tuple[int, int] | None:
    start = _jpeg_frame(data)
    if start is None:
        return None
    height, width = struct.unpack_from(">HH", data, start + 5)
    return height, width


def _jpeg_frame(data: bytes) -> int | None:
    """Where the frame header starts, which gives the size; None where the markers make no sense."""
    position = 2
    while True:
        if data[position] != 0xFF:
            return None
        marker = data[position + 1]
        if marker == 0xFF:  # a fill byte
            position += 1
        elif marker in _JPEG_BARE_MARKERS:
            position += 2
        elif marker in _JPEG_SIZE_MARKERS:
            return position
        else:
            position += 2 + struct.unpack_from(">H", data, position + 2)[0]


def _webp_size(data: bytes) -> tuple[int, int] | None:
    kind = data[12:16]
    if kind == b"VP8 ":
        width, height = struct.unpack_from("<HH", data, 26)
        return height & 0x3FFF, width & 0x3FFF
    if kind == b"VP8L":
        (bits,) = struct.unpack_from("<I", data, 21)
        return (bits >> 14 & 0x3FFF) + 1, (bits & 0x3FFF) + 1
    if kind == b"VP8X":
        width = int.from_bytes(data[24:27], "little") + 1
        height = int.from_bytes(data[27:30], "little") + 1
        return (height, width) if len(data) >= 30 else None
    return None
