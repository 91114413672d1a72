"""What the pipeline, the feature cache and prediction ask of a source of examples."""

from collections.abc import Sequence

import numpy as np

from vl_keras.data.quarantine import Quarantine


class Examples:
    """Examples with random access, each holding contents (byte strings) of some modalities.

    The contents of a modality are numbered through all examples, in the order of the examples. Here every example
    holds exactly one image, so that the number of an image is that of its example; a subclass defines `read`, and the
    other methods where this does not hold.

    Attributes:
        image_ids: name of each example.
        quarantine: what cannot be used.
        split: name of the split, where there is one.
        fingerprint: string that changes with the examples' contents, where they can be cached.
        modalities: names of the modalities that the examples hold contents of.
    """

    image_ids: list[str]
    quarantine: Quarantine
    split: str
    fingerprint: str
    modalities: tuple[str, ...] = ("image",)

    def __len__(self) -> int:
        return len(self.image_ids)

    def counts(self, modality: str) -> np.ndarray:
        """`(examples,)` int64: how many contents of a modality each example holds."""
        return np.full(len(self), modality == "image", np.int64)

    def names(self, modality: str) -> Sequence[str]:
        """Name of each content of a modality, which the quarantine lists it under."""
        return self.image_ids if modality == "image" else []

    def read(self, modality: str, numbers: Sequence[int] | np.ndarray) -> np.ndarray:
        """Contents of a modality.

        Args:
            modality: its name.
            numbers: `(n,)` ints.

        Returns:
            `(n,)` object array of bytes; `b""` for one that cannot be read, which is then in `quarantine`.
        """
        raise NotImplementedError

    def read_images(self, indices: Sequence[int] | np.ndarray) -> np.ndarray:
        """The first image of each of these examples, as `read` gives it; `b""` for an example without an image."""
        counts = self.counts("image")
        if (counts == 1).all():
            return self.read("image", indices)
        indices = np.asarray(indices)
        images = np.full(len(indices), b"", object)
        there = counts[indices] > 0
        images[there] = self.read("image", first_numbers(counts)[indices[there]])
        return images

    def check_quarantine(self, max_share: float) -> None:
        """Raises `QuarantineError` where more than `max_share` of the contents are unusable.

        Inputs that were skipped when the source was made count as well, on both sides.
        """
        names = set(self.image_ids).union(*(self.names(modality) for modality in self.modalities))
        contents = sum(len(self.names(modality)) for modality in self.modalities)
        skipped = sum(name not in names for name, _ in self.quarantine.counted)
        self.quarantine.check(contents + skipped, max_share)


def first_numbers(counts: np.ndarray) -> np.ndarray:
    """`(examples,)` number of each example's first content; of an example without any, that of the next content."""
    return np.cumsum(counts) - counts
