"""Images and texts that lie near to everything, moved away from everything."""

from typing import NamedTuple

import numpy as np

_SHARE = 0.5
_AT_ONCE = 1024  # vectors whose similarities to the bank are held at a time


class Querybank(NamedTuple):
    """Training images and texts that tell how near an image or a text lies to what it has nothing to do with.

    Querybank normalisation (Bogolin et al., 2022): with the inverted softmax, a text's score of an image is divided by
    the sum of the exponentials of the image's scaled similarities to a bank of texts, none of which is about it.
    Here, in logarithms, half of that is taken off, and as much for texts by a bank of images:
    `cos(v, t) - 1/2s log mean_b exp(s cos(v, t_b)) - 1/2s log mean_b exp(s cos(v_b, t))`. For one query the part of its
    own is constant, so that one score serves both directions.

    Attributes:
        images: `(N, E)`, L2-normalised; None where there are none, and nothing is taken off texts.
        texts: `(M, E)`, L2-normalised.
        scale: s, of the trained similarity.
    """

    images: np.ndarray | None
    texts: np.ndarray
    scale: float

    def of_images(self, vectors):
        """`(n, E + 2)` of images' vectors `(n, E)`; the inner product with `of_texts` is the score."""
        far = self._far(vectors, self.texts)
        return np.concatenate([vectors, far, np.ones_like(far)], axis=1)

    def of_texts(self, vectors):
        """`(m, E + 2)` of texts' vectors `(m, E)`; see `of_images`."""
        far = np.zeros_like(vectors[:, :1]) if self.images is None else self._far(vectors, self.images)
        return np.concatenate([vectors, np.ones_like(far), far], axis=1)

    def _far(self, vectors, bank):
        """What is added to all scores of a vector, `(n, 1)`, between -1/2 and 1/2."""
        far = np.empty((len(vectors), 1), vectors.dtype)
        for start in range(0, len(vectors), _AT_ONCE):
            scores = self.scale * vectors[start : start + _AT_ONCE] @ bank.T
            top = scores.max(axis=1, keepdims=True)
            near = top + np.log(np.exp(scores - top).mean(axis=1, keepdims=True))
            far[start : start + _AT_ONCE] = -_SHARE / self.scale * near
        return far
