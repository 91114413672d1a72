"""Images that are in two splits: with the same id, the same content, or nearly the same pixels."""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

from vl_keras.data.open_image import open_image

_THUMBNAIL = 16  # pixels each way
MARK_SIDE = 4 * _THUMBNAIL  # pixels each way that a thumbnail is made of
_MAX_BITS = 3  # largest number of different bits, of the 64 of the difference hash, in near-identical images
_MAX_MEAN, _MAX_ANY = 4.0, 32  # largest difference of their thumbnails, in levels of 0..255: mean, and in any place


@dataclass(frozen=True)
class ImageMark:
    """Features of an image for comparisons; height and width in pixels as stored, size in bytes."""

    height: int
    width: int
    size: int
    format: str
    digest: bytes
    difference_hash: int
    thumbnail: np.ndarray  # (16, 16, 3) uint8


def mark_image(content: bytes, size: tuple[int, int]) -> ImageMark:
    """Decodes an image and computes its `ImageMark`.

    Args:
        content: bytes of the file.
        size: `(height, width)` as stored.

    Raises:
        tf.errors.OpError: the image cannot be decoded; see `open_image`.
    """
    return mark_opened(content, size, *open_image(content, MARK_SIDE))


def mark_opened(content: bytes, size: tuple[int, int], kind: str, image: Image.Image) -> ImageMark:
    """`mark_image` of an image that is opened already.

    Args:
        content: bytes of the file.
        size: `(height, width)` as stored.
        kind: name of its format.
        image: RGB, of about `MARK_SIDE` pixels each way.
    """
    small = image.resize((_THUMBNAIL, _THUMBNAIL), Image.Resampling.BOX)
    height, width = size
    digest = hashlib.sha256(content).digest()
    return ImageMark(height, width, len(content), kind, digest, difference_hash(small), np.asarray(small))


def difference_hash(image: Image.Image) -> int:
    """64 bits, one for each pair of horizontal neighbours in the 9x8 grey image: 1 if the right one is brighter."""
    grey = np.asarray(image.convert("L").resize((9, 8), Image.Resampling.BILINEAR), np.int16)
    return int.from_bytes(np.packbits(grey[:, 1:] > grey[:, :-1]).tobytes())


def find_leaks(
    splits: Mapping[str, tuple[Sequence[str], Sequence[ImageMark | None]]],
) -> list[tuple[str, str, str, str, str]]:
    """Finds images of one split that are also in another.

    Args:
        splits: name of a split to `(image ids, marks)`; the mark of an unreadable image is None.

    Returns:
        Rows `(split, id, other split, other id, how)`, where `how` is "same id", "same file" or "near-identical". Two
        images are near-identical if their difference hashes differ in at most 3 bits and their 16x16 thumbnails differ
        by little.
    """
    names = list(splits)
    leaks: list[tuple[str, str, str, str, str]] = []
    for i, first in enumerate(names):
        for second in names[i + 1 :]:
            pairs = _pairs(*splits[first], *splits[second])
            leaks += [(first, splits[first][0][a], second, splits[second][0][b], how) for (a, b), how in pairs.items()]
    return leaks


def _pairs(
    ids: Sequence[str],
    marks: Sequence[ImageMark | None],
    other_ids: Sequence[str],
    other_marks: Sequence[ImageMark | None],
) -> dict[tuple[int, int], str]:
    pairs: dict[tuple[int, int], str] = {}
    digests, other_digests = ([mark and mark.digest for mark in part] for part in (marks, other_marks))
    compared: list[tuple[str, Sequence[object], Sequence[object]]] = [
        ("same id", ids, other_ids),
        ("same file", digests, other_digests),
    ]
    for how, keys, other_keys in compared:
        places = {key: place for place, key in enumerate(keys) if key}
        for other, key in enumerate(other_keys):
            if key in places:
                pairs.setdefault((places[key], other), how)
    for pair in _near_pairs(marks, other_marks):
        pairs.setdefault(pair, "near-identical")
    return dict(sorted(pairs.items()))


def _near_pairs(
    marks: Sequence[ImageMark | None], other_marks: Sequence[ImageMark | None]
) -> Iterator[tuple[int, int]]:
    places, hashes, thumbnails = _stack(marks)
    other_places, other_hashes, other_thumbnails = _stack(other_marks)
    for row, value in enumerate(other_hashes):
        near = np.flatnonzero(np.bitwise_count(hashes ^ value) <= _MAX_BITS)
        difference = np.abs(thumbnails[near] - other_thumbnails[row])
        alike = (difference.mean(axis=(1, 2, 3)) <= _MAX_MEAN) & (difference.max(axis=(1, 2, 3)) <= _MAX_ANY)
        yield from ((places[found], other_places[row]) for found in near[alike])


def _stack(marks: Sequence[ImageMark | None]) -> tuple[list[int], np.ndarray, np.ndarray]:
    readable = {place: mark for place, mark in enumerate(marks) if mark}
    hashes = np.array([mark.difference_hash for mark in readable.values()], np.uint64)
    thumbnails = np.array([mark.thumbnail for mark in readable.values()], np.int16)
    return list(readable), hashes, thumbnails.reshape(-1, _THUMBNAIL, _THUMBNAIL, 3)
