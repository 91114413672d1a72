"""What the chunks of a PNG tell (PNG Specification, third edition, section 5)."""

from vl_keras.data.image_headers import formats
from vl_keras.data.image_headers.byte_reader import Flag, Number, Reader
from vl_keras.data.image_headers.exif import read_orientation
from vl_keras.data.image_headers.header import Header

_MOST_STEPS = 500  # chunks; equal ones of image data in a row count as one up to `_RUN`
_RUN = 64
_HEAD, _FIRST = int.from_bytes(b"IHDR"), 33  # the first chunk, and the place of the second
_PLTE, _TRNS, _IDAT, _EXIF, _IEND = (int.from_bytes(name) for name in (b"PLTE", b"tRNS", b"IDAT", b"eXIf", b"IEND"))


def read_png(r: Reader) -> Header:
    """Walks the chunks.

    The parts are 1 where the image has alpha, then start and size of the chunks that the pixels need: the table of
    colours, transparency, and all image data; and 1 where the file holds nothing else and no alpha. A decoder should
    get no other chunks: a few kilobytes of compressed text can cost seconds.
    """

    def walk(
        going: Flag, place: Number, table: Number, clear: Number, data: Number, end: Number, exif: Number, cut: Flag
    ) -> tuple[Number, ...]:
        size, kind = r.big(place, 4), r.big(place + 4, 4)
        is_data = (kind == _IDAT) & ((data == 0) | (end == place))
        count = r.run(place, 8, 12 + size, _RUN)
        following = place + r.where(is_data, count, 1) * (12 + size)
        cut = following > r.length
        before = data == 0
        table = r.where((kind == _PLTE) & before & (table == 0), place, table)
        clear = r.where((kind == _TRNS) & before & (clear == 0), place, clear)
        exif = r.where((kind == _EXIF) & (exif == 0) & r.no(cut), place + 8, exif)
        data, end = r.where(is_data & before, place, data), r.where(is_data, following, end)
        return r.no(cut | (kind == _IEND)), following, table, clear, data, end, exif, cut

    state = (True, _FIRST, 0, 0, 0, 0, 0, False)
    many, _, table, clear, data, end, exif, cut = r.loop(walk, state, _MOST_STEPS)
    in_data = (data == 0) | (cut & (end > r.length))
    fault = r.where(many & ((data == 0) | (r.big(end + 4, 4) == _IDAT)), formats.SEGMENTS, 0)
    fault = r.where(in_data & r.no(many), r.where(cut, formats.CUT, formats.BROKEN), fault)
    is_png = (r.big(8, 4) == _FIRST - 20) & (r.big(12, 4) == _HEAD)
    fault = r.where(is_png, fault, r.where(r.length < _FIRST, formats.CUT, formats.BROKEN))
    has_alpha = r.is_one_of(r.big(25, 1), (4, 6)) | (clear > 0)
    table_size, clear_size = (r.where(chunk > 0, 12 + r.big(chunk, 4), 0) for chunk in (table, clear))
    is_bare = r.no(has_alpha) & (data == _FIRST + table_size) & (r.length == end + 12) & (exif == 0)
    parts = (r.where(has_alpha, 1, 0), table, table_size, clear, clear_size, data, end - data, r.where(is_bare, 1, 0))
    return Header(formats.PNG, r.big(20, 4), r.big(16, 4), read_orientation(r, exif), fault, parts)
