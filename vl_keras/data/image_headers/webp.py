"""What the chunks of a WebP tell (RFC 9649)."""

from vl_keras.data.image_headers import formats
from vl_keras.data.image_headers.byte_reader import Flag, Number, Reader
from vl_keras.data.image_headers.exif import read_orientation
from vl_keras.data.image_headers.header import Header

_MOST_CHUNKS = 500
_LOSSY, _LOSSLESS, _EXTENDED, _EXIF = (int.from_bytes(name) for name in (b"VP8 ", b"VP8L", b"VP8X", b"EXIF"))


def read_webp(r: Reader) -> Header:
    """Reads the first chunk, which gives the size, and looks for an EXIF chunk where the first says that one is."""
    kind, bits, flags = r.big(12, 4), r.little(21, 4), r.big(20, 1)
    is_extended, is_lossless, is_lossy = kind == _EXTENDED, kind == _LOSSLESS, kind == _LOSSY
    width = r.where(is_extended, r.little(24, 3) + 1, r.where(is_lossless, bits % 2**14 + 1, r.little(26, 2) % 2**14))
    height = r.where(
        is_extended, r.little(27, 3) + 1, r.where(is_lossless, bits // 2**14 % 2**14 + 1, r.little(28, 2) % 2**14)
    )

    def walk(going: Flag, place: Number, exif: Number) -> tuple[Number, ...]:
        size = r.little(place + 4, 4)
        following = place + 8 + size + size % 2
        is_exif = r.big(place, 4) == _EXIF
        has_name = r.big(place + 8, 6) == int.from_bytes(b"Exif\0\0")  # as in a JPEG; it should not be here
        exif = r.where(is_exif, place + r.where(has_name, 14, 8), exif)
        return r.no(is_exif) & (following < r.length), following, exif

    many, _, exif = r.loop(walk, (is_extended & (flags // 8 % 2 == 1), 12, 0), _MOST_CHUNKS)
    fault = r.where(many, formats.SEGMENTS, 0)
    fault = r.where(is_extended & (flags // 2 % 2 == 1), formats.ANIMATED, fault)
    fault = r.where(is_extended | is_lossless | is_lossy, fault, formats.BROKEN)
    fault = r.where(r.length < 30, formats.CUT, fault)
    return Header(formats.WEBP, height, width, read_orientation(r, exif), fault)
