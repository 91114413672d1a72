"""Vectors of a vocabulary's words by what a BERT knows of them."""

import numpy as np

from vl_keras.encoders.text_encoder import TextEncoder
from vl_keras.progress import shown

_BATCH = 64
_BEYOND_WORDS = "\ue000"  # a private-use character, in no vocabulary


def word_vectors(words: list[str], text_encoder: TextEncoder, width: int) -> tuple[np.ndarray, np.ndarray]:
    """Reads each word alone and keeps the directions in which the words differ most.

    A word's vector is the mean of its token states (Reimers and Gurevych, 2019, section 3) at length one, so that words
    of like meaning lie close; principal components bring it to `width`.

    Args:
        words: list of n strings.
        text_encoder: `TextEncoder`.
        width: D.

    Returns:
        `(n, d)` float32, d the smallest of D, n and the encoder's width, their mean squared length 1; and `(n,)` bool:
        the words that the encoder knows. The others, of which some piece is unknown to it, are rows of zeros.
    """
    means, complete = [], []
    unknown = text_encoder.preprocess([_BEYOND_WORDS])["input_word_ids"].numpy()[0, 1]
    for start in shown(range(0, len(words), _BATCH), "reading the vocabulary"):
        inputs = text_encoder.preprocess(words[start : start + _BATCH])
        states = np.asarray(text_encoder.model(inputs, training=False)["text_tokens"], np.float64)
        mask = inputs["input_mask"].numpy()[..., None]
        mean = (states * mask).sum(axis=1) / np.maximum(mask.sum(axis=1), 1)
        means.append(mean / np.maximum(np.linalg.norm(mean, axis=-1, keepdims=True), 1e-9))
        complete.append((mask[..., 0].any(axis=1)) & (inputs["input_word_ids"].numpy() != unknown).all(axis=1))
    known, vectors = np.concatenate(complete), np.concatenate(means)
    if known.any():
        vectors -= vectors[known].mean(axis=0)
    vectors[~known] = 0.0
    _, _, directions = np.linalg.svd(vectors, full_matrices=False)
    vectors = vectors @ directions[:width].T
    length = np.sqrt((vectors**2).sum() / max(known.sum(), 1))
    return (vectors / max(length, 1e-9)).astype(np.float32), known
