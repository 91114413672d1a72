"""Images that are in memory, as a source that the pipeline reads."""

from collections.abc import Sequence

import numpy as np

from vl_keras.data.quarantine import Quarantine


class ImageContents:
    """Bytes of image files, read as `load_images` reads a `Source`.

    Args:
        contents: the bytes of each.
    """

    def __init__(self, contents: Sequence[bytes]) -> None:
        self._contents = list(contents)
        self.image_ids = [f"image {number}" for number in range(1, len(self._contents) + 1)]
        self.quarantine = Quarantine()

    def __len__(self) -> int:
        return len(self._contents)

    def read_images(self, indices: Sequence[int]) -> np.ndarray:
        """`(n,)` object array of the images' bytes."""
        images = np.empty(len(indices), object)
        images[:] = [self._contents[index] for index in indices]
        return images
