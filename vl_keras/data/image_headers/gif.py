"""What the blocks of a GIF tell, up to its first frame (GIF89a Specification)."""

from vl_keras.data.image_headers import formats
from vl_keras.data.image_headers.byte_reader import Flag, Number, Reader
from vl_keras.data.image_headers.header import Header

_MOST_STEPS = 500  # blocks; equal ones of data in a row count as one up to `_RUN`
_RUN = 1024
_EXTENSION, _CONTROL, _FRAME = 0x21, 0xF9, 0x2C


def read_gif(r: Reader) -> Header:
    """Walks the blocks up to the end of the first frame.

    The parts are: start of the frame's table of colours and its number of colours, the colour that is clear or -1,
    start of the frame, and its end. A decoder should get no more: it would decode all frames.
    """

    def table_size(flags: Number) -> Number:
        """Bytes of a table of colours, as flags of the screen or of a frame give it."""
        power = r.where(flags // 4 % 2 == 1, 16, 1) * r.where(flags // 2 % 2 == 1, 4, 1) * r.where(flags % 2 == 1, 2, 1)
        return r.where(flags >= 128, 6 * power, 0)

    def walk(going: Flag, place: Number, in_data: Flag, frame: Number, clear: Number, odd: Flag) -> tuple[Number, ...]:
        size, second, kind = r.big(place, 1), r.big(place, 2), r.big(place, 1)
        step = r.where(size == 0, 1, r.run(place, 1, 1 + size, _RUN) * (1 + size))
        is_extension, is_frame = (kind == _EXTENSION) & r.no(in_data), (kind == _FRAME) & r.no(in_data)
        is_control = is_extension & (second % 256 == _CONTROL)
        seen = r.where(r.big(place + 3, 1) % 2 == 1, r.big(place + 6, 1), -1)
        clear = r.where(is_control, seen, clear)
        odd = r.no(in_data | is_extension | is_frame)
        step = r.where(is_extension, 2, step)
        step = r.where(is_frame, 11 + table_size(r.big(place + 9, 1)), step)
        done = in_data & (size == 0) & (frame > 0)
        frame = r.where(is_frame, place, frame)
        in_data = is_extension | is_frame | (in_data & (size > 0))
        going = r.no(done | odd) & (place + step < r.length)
        return going, place + step, in_data, frame, clear, odd

    width, height, flags = r.little(6, 2), r.little(8, 2), r.big(10, 1)
    state = (True, 13 + table_size(flags), False, 0, -1, False)
    many, end, in_data, frame, clear, odd = r.loop(walk, state, _MOST_STEPS)
    is_local = r.big(frame + 9, 1) >= 128
    table, size = r.where(is_local, frame + 10, 13), table_size(r.where(is_local, r.big(frame + 9, 1), flags))
    right, bottom = r.little(frame + 1, 2) + r.little(frame + 5, 2), r.little(frame + 3, 2) + r.little(frame + 7, 2)
    fault = r.where((right > width) | (bottom > height), formats.FRAME, 0)
    fault = r.where(size == 0, formats.NO_TABLE, fault)
    fault = r.where((frame == 0) | in_data | (end > r.length), r.where(odd, formats.BROKEN, formats.CUT), fault)
    fault = r.where(many, formats.SEGMENTS, fault)
    return Header(formats.GIF, height, width, 1, fault, (table, size // 3, clear, frame, end))
