"""Any file's header, by the rules of its format."""

import functools
from collections.abc import Callable, Sequence

from vl_keras.data.image_headers import formats
from vl_keras.data.image_headers.bmp import read_bmp
from vl_keras.data.image_headers.byte_reader import Number, Reader
from vl_keras.data.image_headers.gif import read_gif
from vl_keras.data.image_headers.header import HEADER_SIZE, Header
from vl_keras.data.image_headers.jpeg import read_jpeg
from vl_keras.data.image_headers.png import read_png
from vl_keras.data.image_headers.webp import read_webp

_Case = Callable[[], Sequence[Number]]
_READERS = (read_jpeg, read_png, read_gif, read_bmp, read_webp)  # in the order of `formats.DECODED`


def read_header(r: Reader) -> Header:
    """The `Header` of a file; see there."""
    kind = r.sniff([magic.words for magic in formats.DECODED])

    def unknown() -> tuple[Number, ...]:
        foreign = r.sniff([magic.words for magic in formats.FOREIGN_FORMATS])
        named = r.where(foreign >= formats.FIRST_BASE64, formats.BASE64, formats.FOREIGN)
        fault = r.where(foreign > 0, named, r.where(r.length == 0, formats.EMPTY, formats.UNKNOWN))
        return Header(r.where(foreign > 0, foreign + len(_READERS), 0), 0, 0, fault=fault).numbers

    def others() -> Sequence[Number]:
        cases: list[_Case] = [unknown, *(functools.partial(_known, r, read) for read in _READERS[1:])]
        return r.switch(r.where(kind > 0, kind - 1, 0), cases, HEADER_SIZE)

    cases: list[_Case] = [functools.partial(_known, r, read_jpeg), others]
    return Header.of(r.switch(r.where(kind == formats.JPEG, 0, 1), cases, HEADER_SIZE))


def read_jpeg_header(r: Reader) -> Header:
    """`read_header` of a file that begins as a JPEG."""
    return Header.of(_known(r, read_jpeg))


def _known(r: Reader, read: Callable[[Reader], Header]) -> tuple[Number, ...]:
    header = read(r)
    empty = (header.fault == 0) & ((header.height <= 0) | (header.width <= 0))
    return header._replace(fault=r.where(empty, formats.BROKEN, header.fault)).numbers
