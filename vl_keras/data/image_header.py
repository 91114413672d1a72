"""What an image's bytes tell without decoding: a bomb of 100,000 x 100,000 pixels must not be decoded to find out."""

from vl_keras.data.image_headers import formats
from vl_keras.data.image_headers.byte_reader import ByteReader
from vl_keras.data.image_headers.header import Header
from vl_keras.data.image_headers.read_header import read_header


def image_header(data: bytes) -> Header:
    """The `Header` of a file's bytes; nothing is decoded."""
    return read_header(ByteReader(data))


def stored_size(data: bytes) -> tuple[int, int] | None:
    """`(height, width)` in stored pixels, or None where the bytes are no image that is read or end before they say."""
    header = image_header(data)
    return (header.height, header.width) if header.height > 0 and header.width > 0 else None


def find_fault(header: Header, max_pixels: int) -> str | None:
    """Why the image of `header` must not be decoded, or None; in the words of `image_header_ops.header_status`."""
    if max(header.height, header.width) > max_pixels or header.height * header.width > max_pixels:
        return TOO_LARGE.format(formats.NAMES[header.format], f"{header.width}x{header.height}", max_pixels)
    return formats.REASONS[header.fault].format(formats.NAMES[header.format]) if header.fault else None


TOO_LARGE = "too large: the {} has {} pixels, more than {} in all (`data.max_pixels`); make it smaller"
