"""Querybank normalisation: a correction for hubs, images and texts that are near to every query."""

from typing import NamedTuple

import numpy as np

_SHARE = 0.5
_AT_ONCE = 1024  # vectors whose similarities to the bank are in memory at a time


class Querybank(NamedTuple):
    """Unrelated training images and texts, whose similarity to an image or text measures its hubness.

    Querybank normalisation with the inverted softmax (Bogolin et al., 2022) divides the score of an image and a text by
    the sum of the exponentials of the image's scaled similarities to a bank of unrelated texts. Here, in logarithms,
    half of that is subtracted, and the same for the text with a bank of images:
    `cos(v, t) - 1/2s log mean_b exp(s cos(v, t_b)) - 1/2s log mean_b exp(s cos(v_b, t))`. For one query, its own term
    is constant, so one score serves both directions.

    Attributes:
        images: `(N, E)`, L2-normalised; None: texts are not corrected.
        texts: `(M, E)`, L2-normalised.
        scale: s, the factor of the trained similarity.
    """

    images: np.ndarray | None
    texts: np.ndarray
    scale: float

    def of_images(self, vectors: np.ndarray) -> np.ndarray:
        """Extends image vectors `(n, E)` to `(n, E + 2)`; their inner product with `of_texts` is the score."""
        correction = self._correction(vectors, self.texts)
        return np.concatenate([vectors, correction, np.ones_like(correction)], axis=1)

    def of_texts(self, vectors: np.ndarray) -> np.ndarray:
        """Extends text vectors `(m, E)` to `(m, E + 2)`; see `of_images`."""
        none = np.zeros_like(vectors[:, :1])
        correction = none if self.images is None else self._correction(vectors, self.images)
        return np.concatenate([vectors, np.ones_like(correction), correction], axis=1)

    def _correction(self, vectors: np.ndarray, bank: np.ndarray) -> np.ndarray:
        """The number to add to all scores of each vector, `(n, 1)`, between -1/2 and 1/2."""
        correction = np.empty((len(vectors), 1), vectors.dtype)
        for start in range(0, len(vectors), _AT_ONCE):
            scores = self.scale * vectors[start : start + _AT_ONCE] @ bank.T
            top = scores.max(axis=1, keepdims=True)
            hubness = top + np.log(np.exp(scores - top).mean(axis=1, keepdims=True))
            correction[start : start + _AT_ONCE] = -_SHARE / self.scale * hubness
        return correction
