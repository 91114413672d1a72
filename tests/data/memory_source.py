"""A `Source` that lives in memory, for tests: made images, made captions."""

import io

import numpy as np
from PIL import Image

from vl_keras.data.examples import Examples
from vl_keras.data.quarantine import Quarantine

COLORS = ["red", "green", "blue", "white", "black"]


def encode_image(array, kind="PNG", **options):
    """Bytes of an image file of a uint8 array."""
    file = io.BytesIO()
    Image.fromarray(array).save(file, kind, **options)
    return file.getvalue()


def pixels_of(index, height=40, width=56):
    """An image that tells its index: each channel a shade of its own, the left half brighter than the right."""
    array = np.zeros((height, width, 3), np.uint8)
    array[...] = [20 + index % 100, 40 + index // 100, 90]
    array[:, : width // 2] += 100
    return array


class MemorySource(Examples):
    """What the pipeline asks of a `Source`.

    Args:
        images: list of `bytes`.
        captions: list of lists; by default two to six captions an image, of one to nine words.
        contexts: one string an image.
    """

    split = "train"
    fingerprint = "memory"

    def __init__(self, images, captions=None, contexts=None):
        self.images = images
        self.image_ids = [f"image-{index}" for index in range(len(images))]
        self.captions = captions or [caption_list(index) for index in range(len(images))]
        self.contexts = contexts or ["" for _ in images]
        self.quarantine = Quarantine()
        self.times_read = 0

    def read(self, modality, numbers):
        self.times_read += len(numbers)
        contents = np.empty(len(numbers), object)
        contents[:] = [self.images[number] for number in numbers]
        return contents


def caption_list(index):
    random = np.random.default_rng(index)
    return [
        " ".join([f"image{index}", f"caption{number}", *random.choice(COLORS, size=random.integers(0, 8)), "left"])
        for number in range(2 + index % 5)
    ]


def make_source(count, **options):
    """`count` images, each encoded once as PNG."""
    return MemorySource([encode_image(pixels_of(index)) for index in range(count)], **options)


class MemoryFeatures:
    """What the pipeline asks of a `FeatureCache`: the tokens of image i in view v are all i + 100 v.

    Args:
        images, views: how many.
        flipped: `(images, views)` bool; none by default.
        unreadable: indices of images without tokens.
    """

    token_shape = (3, 2)

    def __init__(self, images, views=1, flipped=None, unreadable=()):
        self.views = views
        self.flipped = np.zeros((images, views), bool) if flipped is None else flipped
        self.readable = ~np.isin(np.arange(images), unreadable)

    def read_with_masks(self, indices, views):
        ok = self.readable[indices]
        values = np.where(ok, indices + 100 * views, 0).astype(np.float16)
        tokens = np.broadcast_to(values[:, None, None], (len(indices), *self.token_shape)).copy()
        return tokens, np.repeat(ok[:, None], self.token_shape[0], axis=1), ok
