"""What the header of a BMP tells (Windows GDI, BITMAPINFOHEADER and its successors; OS/2's BITMAPCOREHEADER)."""

from vl_keras.data.image_headers import formats
from vl_keras.data.image_headers.byte_reader import Flag, Number, Reader
from vl_keras.data.image_headers.header import Header

_CORE = 12  # bytes of the oldest header, of OS/2
_OS2 = (_CORE, 16, 64)
_HEADERS = (*_OS2, 40, 52, 56, 108, 124)
_BITFIELDS, _ALPHA_BITFIELDS = 3, 6  # compressions that are none


def read_bmp(r: Reader) -> Header:
    """Reads the header.

    The parts are: start of the pixels, bytes of a row, bits of a pixel, 1 where the rows begin at the top, start of the
    table of colours, bytes of a colour in it; of 16 and 32 bits, the masks of red, green, blue and alpha instead of the
    last two, so that eight numbers follow one another.
    """
    start, size = r.little(10, 4), r.little(14, 4)
    is_core, is_os2 = size == _CORE, r.is_one_of(size, _OS2)
    width = r.where(is_core, r.little(18, 2), _signed(r, 18))
    height = r.where(is_core, r.little(20, 2), _signed(r, 22))
    bits = r.where(is_core, r.little(24, 2), r.little(28, 2))
    compression = r.where(size > 16, r.little(30, 4), 0)
    from_top, height = r.where(height < 0, 1, 0), r.where(height < 0, -height, height)
    row = (width * bits + 31) // 32 * 4
    has_masks = r.is_one_of(compression, (_BITFIELDS, _ALPHA_BITFIELDS)) & r.is_one_of(bits, (16, 32)) & r.no(is_os2)
    has_alpha = has_masks & ((size >= 56) | (compression == _ALPHA_BITFIELDS))
    usual = [(0x7C00, 0xFF0000), (0x03E0, 0xFF00), (0x001F, 0xFF)]  # of 16 bits and of 32
    masks = [
        r.where(has_masks, r.little(54 + 4 * place, 4), r.where(bits == 16, short, long))
        for place, (short, long) in enumerate(usual)
    ]
    masks.append(r.where(has_alpha, r.little(66, 4), 0))
    is_direct = r.is_one_of(bits, (16, 32))
    table = 14 + size
    fault = r.where(start + row * (height - 1) + (width * bits + 7) // 8 > r.length, formats.CUT, 0)
    fault = r.where(start < table, formats.BROKEN, fault)
    gaps = _has_gaps(masks[0]) | _has_gaps(masks[1]) | _has_gaps(masks[2]) | _has_gaps(masks[3])
    fault = r.where(is_direct & gaps, formats.MASKS, fault)
    fault = r.where(r.is_one_of(bits, (1, 4, 8, 16, 24, 32)), fault, formats.BITS)
    fault = r.where((compression != 0) & r.no(has_masks), formats.COMPRESSED, fault)
    fault = r.where(r.is_one_of(size, _HEADERS), fault, formats.HEADER)
    fault = r.where(r.length < 26, formats.CUT, fault)
    known = r.is_one_of(size, _HEADERS)
    parts = [
        start,
        row,
        bits,
        from_top,
        r.where(is_direct, masks[0], table),
        r.where(is_direct, masks[1], r.where(is_core, 3, 4)),
        *masks[2:],
    ]
    return Header(formats.BMP, r.where(known, height, 0), r.where(known, width, 0), 1, fault, parts)


def _signed(r: Reader, place: int) -> Number:
    value = r.little(place, 4)
    return r.where(value >= 2**31, value - 2**32, value)


def _has_gaps(mask: Number) -> Flag:
    """Whether the ones of a mask are not all next to each other."""
    lowest = mask & -mask
    return (mask & (mask + lowest)) != 0
