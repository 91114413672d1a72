"""The orientation that an EXIF block gives."""

from vl_keras.data.image_headers.byte_reader import Number, Reader

_ORIENTATION = 0x0112
_MOST_ENTRIES = 1000
_SHORT, _LONG, _SIGNED_SHORT, _SIGNED_LONG = 3, 4, 8, 9


def read_orientation(r: Reader, block: Number) -> Number:
    """Orientation of the EXIF block at `block`, 1 to 8; 1 (upright) where `block` is 0 or none is given.

    The block is a TIFF file (EXIF 2.3, section 4.5): byte order, 42, place of the first directory; there, the number
    of entries of twelve bytes each: tag, type, count, value.
    """

    def parse() -> tuple[Number, ...]:
        is_little = r.big(block, 4) == 0x49492A00
        is_tiff = is_little | (r.big(block, 4) == 0x4D4D002A)

        def number(place: Number, count: int) -> Number:
            return r.where(is_little, r.little(place, count), r.big(place, count))

        directory = block + number(block + 4, 4)
        found = r.find(directory + 2, 12, _ORIENTATION, is_little, number(directory, 2), _MOST_ENTRIES)
        entry = directory + 2 + 12 * found
        kind = number(entry + 2, 2)
        value = r.where(r.is_one_of(kind, (_LONG, _SIGNED_LONG)), number(entry + 8, 4), number(entry + 8, 2))
        told = is_tiff & (found >= 0) & (number(entry + 4, 4) == 1) & (value >= 1) & (value <= 8)
        told = told & r.is_one_of(kind, (_SHORT, _LONG, _SIGNED_SHORT, _SIGNED_LONG))
        return (r.where(told, value, 1),)

    return r.switch(r.where(block > 0, 1, 0), [lambda: (1,), parse], 1)[0]
