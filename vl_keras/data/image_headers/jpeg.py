"""What the segments of a JPEG tell (ITU-T T.81, annex B)."""

from vl_keras.data.image_headers import formats
from vl_keras.data.image_headers.byte_reader import Flag, Number, Reader
from vl_keras.data.image_headers.exif import read_orientation
from vl_keras.data.image_headers.header import Header

MOST_SCANS = 64
_MOST_SEGMENTS = 500  # after the first scan
_LOSSLESS, _HIERARCHICAL = (0xC3, 0xC7, 0xCB, 0xCF), (0xC5, 0xC6, 0xCD, 0xCE)
_PROGRESSIVE = (0xC2, 0xCA)
_SCAN, _END = 0xDA, 0xD9


def read_jpeg(r: Reader) -> Header:
    """Walks the segments up to the first scan.

    libjpeg skips bytes between segments that are no segment, so it might find another frame there: they are refused.
    """
    found = r.jpeg_segments()
    frame, scan, seen = found.frame, found.scan, found.frame > 0
    kind, bits, channels = r.big(frame + 1, 1), r.big(frame + 4, 1), r.big(frame + 9, 1)
    # A decoder reads one scan of all channels and stops; else it reads every scan.
    reads_all = r.is_one_of(kind, _PROGRESSIVE) | (r.big(scan + 4, 1) < channels)
    may_be_many = (scan > 0) & reads_all
    scans = r.switch(r.where(may_be_many, 1, 0), [lambda: (1,), lambda: (_count_scans(r, scan),)], 1)[0]
    fault = r.choose(
        (
            (found.are_many, formats.SEGMENTS),
            (found.is_odd & (found.place < r.length), formats.ODD_SEGMENTS),
            (r.no(seen) | (scan == 0), formats.CUT),
            (r.is_one_of(kind, _LOSSLESS), formats.LOSSLESS),
            (r.is_one_of(kind, _HIERARCHICAL), formats.HIERARCHICAL),
            (bits != 8, formats.BITS),
            (r.no(r.is_one_of(channels, (1, 3, 4))), formats.CHANNELS),
            (r.no(r.has_end_marker(frame)), formats.CUT),
            (scans < 0, formats.SEGMENTS),
            (scans > MOST_SCANS, formats.SCANS),
        )
    )
    height, width = r.where(seen, r.big(frame + 5, 2), 0), r.where(seen, r.big(frame + 7, 2), 0)
    return Header(formats.JPEG, height, width, read_orientation(r, found.exif), fault)


def _count_scans(r: Reader, scan: Number) -> Number:
    """Number of scans from the first at `scan` on, exact where they are too many; -1 if segments are."""
    most = 1 + r.count_scans(scan)

    def exactly() -> tuple[Number]:
        next_marker = r.next_markers()

        def walk(going: Flag, place: Number, scans: Number) -> tuple[Number, ...]:
            place = next_marker(place)
            head = r.big(place, 4)
            is_scan, is_end = head // 2**16 % 256 == _SCAN, head // 2**16 % 256 == _END
            scans = scans + r.where(is_scan, 1, 0)
            going = (place < r.length) & r.no(is_end) & (scans <= MOST_SCANS)
            return going, place + 2 + head % 2**16, scans

        many, _, scans = r.loop(walk, (True, scan + 2 + r.big(scan + 2, 2), 1), _MOST_SEGMENTS)
        return (r.where(many, -1, scans),)

    return r.switch(r.where(most > MOST_SCANS, 1, 0), [lambda: (most,), exactly], 1)[0]
