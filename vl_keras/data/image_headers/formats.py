"""The names of image formats, by their first bytes, and what is said of an image that must not be decoded."""

from typing import NamedTuple

JPEG, PNG, GIF, BMP, WEBP = range(1, 6)


class Magic(NamedTuple):
    """First bytes that tell a format.

    Attributes:
        name: of the format.
        words: dict of place -> the bytes there.
    """

    name: str
    words: dict[int, bytes]


# The place of each, counted from 1, is the number of its format.
DECODED = (
    Magic("JPEG", {0: b"\xff\xd8\xff"}),
    Magic("PNG", {0: b"\x89PNG\r\n\x1a\n"}),
    Magic("GIF", {0: b"GIF8"}),
    Magic("BMP", {0: b"BM"}),
    Magic("WebP", {0: b"RIFF", 8: b"WEBP"}),
)
# Known by name only; their numbers follow.
FOREIGN_FORMATS = (
    *(Magic("AVIF", {4: b"ftyp", 8: brand}) for brand in (b"avif", b"avis")),
    *(Magic("HEIC", {4: b"ftyp", 8: brand}) for brand in (b"hei", b"hev", b"mif1", b"msf1")),
    *(Magic("TIFF", {0: start}) for start in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")),
    *(Magic("JPEG 2000", {place: start}) for place, start in ((4, b"jP  "), (0, b"\xff\x4f\xff\x51"))),
    *(Magic("JPEG XL", {place: start}) for place, start in ((4, b"JXL "), (0, b"\xff\x0a"))),
    Magic("Photoshop", {0: b"8BPS"}),
    Magic("icon", {0: b"\0\0\1\0"}),
    Magic("PDF", {0: b"%PDF"}),
    Magic("MNG", {0: b"\x8aMNG"}),
)
FIRST_BASE64 = 1 + len(FOREIGN_FORMATS)  # the place from 1 on, as of the others
# How the base64 text of a JPEG, a PNG, a BMP, a WebP or a GIF begins, or a URL that contains one.
_BASE64_STARTS = (b"/9j/", b"iVBORw0KGgo", b"Qk0", b"Qk1", b"Qk2", b"Qk3", b"UklGR", b"R0lGO", b"data:image/")
FOREIGN_FORMATS += tuple(Magic("base64 text", {0: start}) for start in _BASE64_STARTS)
NAMES = ("image", *(magic.name for magic in DECODED + FOREIGN_FORMATS))

# Faults: each is a place in `REASONS`, where {} stands for the format's name.
REASONS = [""]


def _fault(reason: str) -> int:
    REASONS.append(reason)
    return len(REASONS) - 1


EMPTY = _fault("empty: there are no image bytes")
UNKNOWN = _fault("unsupported: the bytes are no JPEG, PNG, GIF, BMP or WebP image; use one of these")
FOREIGN = _fault("unsupported: {} images are not decoded; convert the image to JPEG or PNG")
BASE64 = _fault(
    'unsupported: the bytes are base64 text, send the bytes themselves or, in the JSON of a request, {{"b64": "…"}}'
)
BROKEN = _fault("damaged: the {} cannot be decoded, it is broken or cut short; get the file again")
CRASHED = _fault("damaged: the decoder of {} images crashes on this file; save it again with another program")
CUT = _fault("damaged: the {} is cut short; get the file again")
ODD_SEGMENTS = _fault("damaged: the {} holds bytes where a segment must begin; save it again")
SEGMENTS = _fault("unsupported: the {} has too many parts (segments, chunks or blocks); save it again")
SCANS = _fault("unsupported: a {} of more than 64 scans is not decoded; save it again")
LOSSLESS = _fault("unsupported: a lossless {} is not decoded; save it as baseline JPEG or PNG")
HIERARCHICAL = _fault("unsupported: a hierarchical {} is not decoded; save it as baseline JPEG or PNG")
BITS = _fault("unsupported: a {} of this number of bits a pixel is not decoded; save it as PNG")
CHANNELS = _fault("unsupported: a {} of this number of channels is not decoded; save it as PNG")
ANIMATED = _fault("unsupported: animated {} images are not decoded; use a still one")
FRAME = _fault("unsupported: a {} whose first frame reaches beyond its screen is not decoded; save it as PNG")
NO_TABLE = _fault("unsupported: a {} without a table of colours is not decoded; save it as PNG")
COMPRESSED = _fault("unsupported: a compressed {} (RLE, JPEG or PNG within) is not decoded; save it as PNG")
HEADER = _fault("unsupported: a {} with a header of this kind is not decoded; save it as PNG")
MASKS = _fault("unsupported: a {} whose bit masks have gaps is not decoded; save it as PNG")
