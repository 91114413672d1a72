"""Retrieval metrics: how well images find their texts and texts their images."""

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

_ROWS = 1024  # queries whose scores are in memory at a time
_TIE = 1e-12  # scores that differ by less than this share of the largest product of norms differ by rounding only


def retrieval_scores(
    image: ArrayLike, text: ArrayLike, owner: ArrayLike, protocol_size: int | None = None
) -> dict[str, Any]:
    """Recall at 1, 5 and 10, median rank and mean reciprocal rank, in both directions.

    Args:
        image: `(N, D)` vectors; a score is the inner product.
        text: `(M, D)` vectors.
        owner: `(M,)` int: the image that each text belongs to. Every image has at least one text.
        protocol_size: images of a fold, as in the 1,000-image protocol: the images and texts of a fold are searched
            only within the fold, and the scores are means over the folds; see `protocol_folds`. None: all images at
            once.

    Returns:
        Dict: `images` and `texts`, the numbers scored; `folds`, their number; `image_to_text` and `text_to_image`, each
        a result of `scores_of_ranks`.

    Raises:
        ValueError: see `retrieval_ranks`.
    """
    image, text, owner = _checked(image, text, owner)
    folds = list(protocol_folds(owner, len(image), protocol_size))
    of_folds = []
    for images, texts, fold_owner in folds:
        ranks = retrieval_ranks(image[images], text[texts], fold_owner)
        of_folds.append([scores_of_ranks(of_direction) for of_direction in ranks])
    to_text, to_image = (
        {name: float(np.mean([scores[name] for scores in of_direction])) for name in of_direction[0]}
        for of_direction in zip(*of_folds, strict=True)
    )
    return {
        "images": sum(len(images) for images, _, _ in folds),
        "texts": sum(len(texts) for _, texts, _ in folds),
        "folds": len(folds),
        "image_to_text": to_text,
        "text_to_image": to_image,
    }


def protocol_folds(
    owner: ArrayLike, num_images: int, protocol_size: int | None = None
) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Splits images and their texts into consecutive folds of `protocol_size` images.

    Args:
        owner: `(M,)` int: the image that each text belongs to.
        num_images: N.
        protocol_size: images of a fold; images after the last whole fold are left out. If it is None or at least N,
            all images are one fold.

    Yields:
        `(images, texts, owner)`: indices of the fold's images and texts, and the texts' owners within the fold.

    Raises:
        ValueError: there is no image.
    """
    owner = np.asarray(owner)
    size = min(protocol_size or num_images, num_images)
    if size < 1:
        raise ValueError(f"Retrieval scores need at least one image; got {num_images}, in folds of {protocol_size}.")
    for start in range(0, num_images - size + 1, size):
        (texts,) = np.nonzero((owner >= start) & (owner < start + size))
        yield np.arange(start, start + size), texts, owner[texts] - start


def retrieval_ranks(image: ArrayLike, text: ArrayLike, owner: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    """Rank, from 1, at which each image finds the best of its texts and each text its image.

    Ties count against the model: a wrong result with the same score is ranked before the right one. If all vectors are
    equal, every rank is the last.

    Args:
        image: `(N, D)`.
        text: `(M, D)`.
        owner: `(M,)` int, see `retrieval_scores`.

    Returns:
        `(N,)` ranks of images among texts and `(M,)` of texts among images, int64.

    Raises:
        ValueError: shapes do not agree, a vector is not finite, an owner is not an image, or an image has no text.
    """
    image, text, owner = _checked(image, text, owner)
    number = np.arange(len(image))
    return _ranks(image, number, text, owner), _ranks(text, owner, image, number)


def scores_of_ranks(ranks: ArrayLike) -> dict[str, float]:
    """Metrics of ranks that count from 1.

    Returns:
        Dict: `recall_at_1`, `recall_at_5`, `recall_at_10`, the percentage of queries with that rank or better;
        `median_rank`; `mean_reciprocal_rank`, in (0, 1].
    """
    ranks = np.asarray(ranks)
    return {
        **{f"recall_at_{k}": 100.0 * float(np.mean(ranks <= k)) for k in (1, 5, 10)},
        "median_rank": float(np.median(ranks)),
        "mean_reciprocal_rank": float(np.mean(1.0 / ranks)),
    }


def top_candidates(query: np.ndarray, key: np.ndarray, count: int) -> np.ndarray:
    """Finds every query's keys with the highest inner product.

    Args:
        query: `(queries, D)`.
        key: `(keys, D)`.
        count: number of candidates; with fewer keys, all of them are returned.

    Returns:
        `(queries, C)` int64 indices of keys, best first; keys with equal scores in their order.
    """
    count = min(count, len(key))
    top = np.empty((len(query), count), np.int64)
    for rows, scores, _ in _score_chunks(query, key):
        top[rows] = np.argsort(-scores, axis=1, kind="stable")[:, :count]
    return top


def reranked_ranks(
    ranks: np.ndarray, candidates: np.ndarray, scores: ArrayLike, query_image: ArrayLike, key_image: ArrayLike
) -> np.ndarray:
    """Ranks after each query's first candidates were reordered, e.g. by a matching model.

    Keys after the candidates do not move: a query without a right key among its candidates keeps its rank. Ties in the
    new scores count against the model.

    Args:
        ranks: `(queries,)` ranks of the first stage, from `retrieval_ranks`.
        candidates: `(queries, C)` indices of keys, from `top_candidates`.
        scores: `(queries, C)` new scores of the candidates, higher is better.
        query_image: `(queries,)` the image of each query: `np.arange(N)` for images, `owner` for texts.
        key_image: `(keys,)` the image of each key: `owner` for texts, `np.arange(N)` for images.

    Returns:
        `(queries,)` ranks, from 1.
    """
    scores = np.asarray(scores, np.float64)
    own = np.asarray(key_image)[candidates] == np.asarray(query_image)[:, None]
    best = np.where(own, scores, -np.inf).max(axis=1)
    new = 1 + (~own & (scores >= best[:, None])).sum(axis=1)
    return np.where(own.any(axis=1), new, ranks)


def _ranks(query: np.ndarray, query_image: np.ndarray, key: np.ndarray, key_image: np.ndarray) -> np.ndarray:
    ranks = np.empty(len(query), np.int64)
    for rows, scores, tie in _score_chunks(query, key):
        own = query_image[rows, None] == key_image
        best = np.where(own, scores, -np.inf).max(axis=1)
        ranks[rows] = 1 + (~own & (scores >= best[:, None] - tie)).sum(axis=1)
    return ranks


def _score_chunks(query: np.ndarray, key: np.ndarray) -> Iterator[tuple[slice, np.ndarray, float]]:
    """Yields chunks of queries: their slice, their scores `(rows, keys)`, and the difference up to which scores tie."""
    query, key = np.asarray(query, np.float64), np.asarray(key, np.float64)
    tie = _TIE * np.linalg.norm(query, axis=1).max(initial=0) * np.linalg.norm(key, axis=1).max(initial=0)
    for start in range(0, len(query), _ROWS):
        rows = slice(start, start + _ROWS)
        yield rows, query[rows] @ key.T, tie


def _checked(image: ArrayLike, text: ArrayLike, owner: ArrayLike) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    image, text, owner = np.asarray(image, np.float64), np.asarray(text, np.float64), np.asarray(owner)
    if image.ndim != 2 or text.ndim != 2 or image.shape[1] != text.shape[1] or owner.shape != (len(text),):
        raise ValueError(
            "Retrieval needs image vectors (N, D), text vectors (M, D) and owners (M,); got shapes "
            f"{image.shape}, {text.shape} and {owner.shape}."
        )
    if not np.all(np.isfinite(image)) or not np.all(np.isfinite(text)):
        raise ValueError("Retrieval needs finite vectors; got nan or infinity, so the encoder is broken.")
    if np.any((owner < 0) | (owner >= len(image))):
        raise ValueError(f"An owner must be one of the {len(image)} images; got {owner.min()} to {owner.max()}.")
    missing = np.setdiff1d(np.arange(len(image)), owner)
    if len(missing):
        raise ValueError(
            f"Every image needs at least one text; image {missing[0]} and {len(missing) - 1} more have none."
        )
    return image, text, owner
