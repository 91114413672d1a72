"""Images in memory, as a source that the data pipeline reads."""

from collections.abc import Sequence

import numpy as np

from vl_keras.data.examples import Examples
from vl_keras.data.quarantine import Quarantine


class ImageContents(Examples):
    """Bytes of image files; `load_images` reads them like a `Source`.

    Args:
        contents: the bytes of each image file.

    Attributes:
        image_ids: `image 1` and so on.
        quarantine: the images that could not be read.
    """

    def __init__(self, contents: Sequence[bytes]) -> None:
        self._contents = list(contents)
        self.image_ids = [f"image {number}" for number in range(1, len(self._contents) + 1)]
        self.quarantine = Quarantine()

    def read(self, modality: str, numbers: Sequence[int] | np.ndarray) -> np.ndarray:
        """The bytes of some images, an `(n,)` object array."""
        images = np.empty(len(numbers), object)
        images[:] = [self._contents[number] for number in numbers]
        return images
