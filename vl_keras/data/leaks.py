"""Images that are in two splits: by name, by content, or so alike that one is a copy of the other."""

import hashlib
from dataclasses import dataclass

import numpy as np
from PIL import Image

from vl_keras.data.open_image import open_image

_THUMBNAIL = 16  # pixels each way
_MAX_BITS = 3  # of the 64 of the difference hash
_MAX_MEAN, _MAX_ANY = 4.0, 32  # levels of 0..255 between thumbnails that count as alike: on average, and in any place


@dataclass(frozen=True)
class ImageMark:
    """What is kept of an image for comparisons; height and width in pixels as stored, size in bytes."""

    height: int
    width: int
    size: int
    format: str
    digest: bytes
    difference_hash: int
    thumbnail: np.ndarray  # (16, 16, 3) uint8


def mark_image(content, size):
    """The `ImageMark` of a file's bytes, which it decodes; `size` is (height, width). Raises as `open_image`."""
    kind, image = open_image(content, 4 * _THUMBNAIL)
    small = image.resize((_THUMBNAIL, _THUMBNAIL), Image.Resampling.BOX)
    return ImageMark(
        *size, len(content), kind, hashlib.sha256(content).digest(), difference_hash(small), np.asarray(small)
    )


def difference_hash(image):
    """64 bits, one a pair of horizontal neighbours of the 9x8 grey image: is the right one brighter?"""
    grey = np.asarray(image.convert("L").resize((9, 8), Image.Resampling.BILINEAR), np.int16)
    return int.from_bytes(np.packbits(grey[:, 1:] > grey[:, :-1]).tobytes())


def find_leaks(splits):
    """Images of one split that are in another as well.

    Args:
        splits: dict from name to `(image ids, marks)`; the mark of an unreadable image is None.

    Returns:
        Rows `(split, name, other split, other name, how)`, `how` being "same id", "same file" or "near-identical". Two
        images are near-identical where their difference hashes are within 3 bits and their 16x16 thumbnails alike.
    """
    names, leaks = list(splits), []
    for i, first in enumerate(names):
        for second in names[i + 1 :]:
            pairs = _pairs(*splits[first], *splits[second])
            leaks += [(first, splits[first][0][a], second, splits[second][0][b], how) for (a, b), how in pairs.items()]
    return leaks


def _pairs(ids, marks, other_ids, other_marks):
    pairs = {}
    for how, keys, other_keys in (
        ("same id", ids, other_ids),
        ("same file", *([mark and mark.digest for mark in part] for part in (marks, other_marks))),
    ):
        places = {key: place for place, key in enumerate(keys) if key}
        for other, key in enumerate(other_keys):
            if key in places:
                pairs.setdefault((places[key], other), how)
    for pair in _near_pairs(marks, other_marks):
        pairs.setdefault(pair, "near-identical")
    return dict(sorted(pairs.items()))


def _near_pairs(marks, other_marks):
    places, hashes, thumbnails = _stack(marks)
    other_places, other_hashes, other_thumbnails = _stack(other_marks)
    for row, value in enumerate(other_hashes):
        near = np.flatnonzero(np.bitwise_count(hashes ^ value) <= _MAX_BITS)
        difference = np.abs(thumbnails[near] - other_thumbnails[row])
        alike = (difference.mean(axis=(1, 2, 3)) <= _MAX_MEAN) & (difference.max(axis=(1, 2, 3)) <= _MAX_ANY)
        yield from ((places[found], other_places[row]) for found in near[alike])


def _stack(marks):
    places = [place for place, mark in enumerate(marks) if mark]
    hashes = np.array([marks[place].difference_hash for place in places], np.uint64)
    thumbnails = np.array([marks[place].thumbnail for place in places], np.int16).reshape(-1, _THUMBNAIL, _THUMBNAIL, 3)
    return places, hashes, thumbnails
