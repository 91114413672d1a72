"""CIDEr-D of sampled captions, in the graph, as a reward for training."""

from collections.abc import Iterable, Sequence

import numpy as np
import tensorflow as tf

_BITS = 15  # of one token id; four of them fit into an int64
_MAX_N = 4


class CiderReward:
    """CIDEr-D (Vedantam et al., 2015, section 8) between token ids: the reward of self-critical training.

    The arithmetic is that of pycocoevalcap's scorer, but over token ids instead of words. The end token counts as a
    word, so a caption that breaks off scores less. The reward is computed with TensorFlow ops on whole batches, because
    a Python scorer would take longer than the training step itself.

    Args:
        captions: for each image, its reference captions as id sequences without padding. Document frequencies are
            counted over these images.
        vocab_size: V; at most 32768.
        sigma: width of the length penalty, tokens.

    Args of call:
        samples: `(B, N, L)` int, padded with zeros.
        references: `(B, K, M)` int, padded with zeros; a row of zeros is no reference.
        weights: `(B, K)` float32, the weight of each reference; None gives all the same weight.

    Returns:
        `(B, N)` float32, the weighted mean over references, 0 to 10.

    Raises:
        ValueError: the vocabulary is too large.
    """

    def __init__(
        self, captions: Iterable[Iterable[Sequence[int] | np.ndarray]], vocab_size: int, sigma: float = 6.0
    ) -> None:
        if vocab_size > 1 << _BITS:
            raise ValueError(f"`vocab_size` must be at most {1 << _BITS} for the CIDEr reward; got {vocab_size}.")
        images, seen = 0, []
        for references in captions:
            images += 1
            grams = [_grams(np.asarray(reference, np.int64), n) for reference in references for n in range(1, 5)]
            seen.append(np.unique(np.concatenate(grams)))
        keys, counts = np.unique(np.concatenate(seen), return_counts=True)
        self.sigma = sigma
        self._keys = tf.constant(keys, tf.int64)
        self._document_frequency = tf.constant(np.log(counts), tf.float32)
        self._log_images = float(np.log(images))

    def __call__(self, samples: tf.Tensor, references: tf.Tensor, weights: tf.Tensor | None = None) -> tf.Tensor:
        samples, references = tf.cast(samples, tf.int64), tf.cast(references, tf.int64)
        length = _count(samples)[:, :, None] - _count(references)[:, None]
        penalty = tf.exp(-(length**2) / (2 * self.sigma**2))
        total = 0.0
        for n in range(1, _MAX_N + 1):
            total += self._similarity(_grams(samples, n), _grams(references, n)) * penalty
        real = tf.cast(tf.reduce_any(references != 0, axis=-1), tf.float32)[:, None]
        if weights is not None:
            real *= weights[:, None]
        mean = tf.math.divide_no_nan(tf.reduce_sum(total * real, axis=-1), tf.reduce_sum(real, axis=-1))
        return 10.0 * mean / _MAX_N

    def _similarity(self, samples: tf.Tensor, references: tf.Tensor) -> tf.Tensor:
        """`(B, N, P)` and `(B, K, Q)` n-grams, zero where there is none, to `(B, N, K)` clipped cosines."""
        sample_idf, reference_idf = self._idf(samples), self._idf(references)
        in_sample, in_reference = _own_counts(samples), _own_counts(references)
        # An n-gram that occurs c times appears c times in the sums below; dividing by c counts it once.
        once = tf.math.divide_no_nan(1.0, in_sample)
        sample_norm = tf.sqrt(tf.reduce_sum((in_sample * sample_idf) ** 2 * once, axis=-1))
        reference_norm = tf.sqrt(
            tf.reduce_sum((in_reference * reference_idf) ** 2 * tf.math.divide_no_nan(1.0, in_reference), axis=-1)
        )
        same = (
            tf.equal(samples[:, :, None, :, None], references[:, None, :, None, :])
            & (samples != 0)[:, :, None, :, None]
        )
        common = tf.reduce_sum(tf.cast(same, tf.float32), axis=-1)  # (B, N, K, P): how often the reference has it
        clipped = tf.minimum(common, in_sample[:, :, None]) * common * (sample_idf**2 * once)[:, :, None]
        norms = sample_norm[:, :, None] * reference_norm[:, None]
        return tf.math.divide_no_nan(tf.reduce_sum(clipped, axis=-1), norms)

    def _idf(self, grams: tf.Tensor) -> tf.Tensor:
        """log(images / images that contain the n-gram); an unseen n-gram counts as seen once."""
        flat = tf.reshape(grams, [-1])
        place = tf.minimum(tf.searchsorted(self._keys, flat), tf.size(self._keys) - 1)
        known = tf.equal(tf.gather(self._keys, place), flat)
        frequency = tf.where(known, tf.gather(self._document_frequency, place), 0.0)
        return tf.reshape(self._log_images - frequency, tf.shape(grams))


def _grams(ids: np.ndarray | tf.Tensor, n: int) -> np.ndarray | tf.Tensor:
    """n-grams of `(…, L)` int64 ids as one int64 each, `(…, L-n+1)`; zero for an n-gram that contains padding."""
    if ids.shape[-1] is not None and ids.shape[-1] < n:
        return ids[..., :0]
    length = ids.shape[-1] if isinstance(ids, np.ndarray) else tf.shape(ids)[-1]
    count = length - n + 1
    packed, whole = ids[..., :count], ids[..., :count] != 0
    for i in range(1, n):
        part = ids[..., i : i + count]
        packed, whole = packed * (1 << _BITS) + part, whole & (part != 0)
    return packed * (whole.astype(np.int64) if isinstance(whole, np.ndarray) else tf.cast(whole, tf.int64))


def _own_counts(grams: tf.Tensor) -> tf.Tensor:
    """How often each n-gram occurs in its own caption, `(B, N, P)` float32."""
    same = tf.equal(grams[..., :, None], grams[..., None, :]) & (grams != 0)[..., None]
    return tf.reduce_sum(tf.cast(same, tf.float32), axis=-1)


def _count(ids: tf.Tensor) -> tf.Tensor:
    """Length of captions as pycocoevalcap's scorer defines it: the number of bigrams."""
    return tf.maximum(tf.reduce_sum(tf.cast(ids != 0, tf.float32), axis=-1) - 1.0, 0.0)
