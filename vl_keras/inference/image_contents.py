"""Images in memory, as a source that the data pipeline reads."""

from collections.abc import Sequence

import numpy as np

from vl_keras.data.quarantine import Quarantine


class ImageContents:
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

    def __len__(self) -> int:
        return len(self._contents)

    def read_images(self, indices: Sequence[int]) -> np.ndarray:
        """The bytes of some images, an `(n,)` object array."""
        images = np.empty(len(indices), object)
        images[:] = [self._contents[index] for index in indices]
        return images
