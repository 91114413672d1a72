"""The pairs of image-text matching: for training, and for the evaluation of a split."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import tensorflow as tf

from vl_keras.data.epoch_plan import choose_negatives
from vl_keras.errors import DataError
from vl_keras.layers.masked_mean import masked_mean
from vl_keras.metrics.match_scores import best_threshold, match_scores
from vl_keras.models.token_reader import image_tokens
from vl_keras.tasks.described import dataset_name

if TYPE_CHECKING:
    from vl_keras.data.batch_rows import BatchRows
    from vl_keras.models.pair_classifier import PairClassifier
    from vl_keras.tasks.matching import MatchingTask

_PAIR_SEED = 20201  # of the negatives that splits are evaluated with; fixed, so that all runs are scored on equal pairs


class Match(NamedTuple):
    """The prediction for one pair.

    Attributes:
        index: place of the image in the source.
        image_id: name of the image.
        text: the text.
        probability: predicted probability that they match.
        match: whether they match.
    """

    index: int
    image_id: str
    text: str
    probability: float
    match: bool


def score_pairs(
    task: MatchingTask,
    model: PairClassifier,
    split: str,
    limit: int = 0,
    progress: Callable[[int], None] | None = None,
) -> tuple[dict[str, float], list[Match]]:
    """Scores the pairs of a split; see `MatchingTask.score_split`."""
    source = task.source(split)
    owners, texts, truth = pairs_of_split(task, split, limit)
    logits = task.pair_logits(model, split, owners, texts, progress)[:, 0]
    matches = [
        Match(owner, source.image_ids[owner], text, float(1 / (1 + np.exp(-logit))), bool(match))
        for owner, text, match, logit in zip(owners, texts, truth, logits, strict=True)
        if not np.isnan(logit)
    ]
    probability = np.array([match.probability for match in matches])
    truth_of_matches = np.array([match.match for match in matches], bool)
    check_both(task, split, truth_of_matches)
    metrics = match_scores(probability, truth_of_matches)
    metrics["best_threshold"] = best_threshold(probability, truth_of_matches)
    return metrics, matches


def pairs_of_split(task: MatchingTask, split: str, limit: int = 0) -> tuple[list[int], list[str], list[bool]]:
    """Images, texts and labels of the pairs that a split is evaluated with."""
    if task.negatives == "given":
        rows = [(i, pair) for i, pairs in enumerate(given_pairs(task, split)[: limit or None]) for pair in pairs]
        images, pairs = [i for i, _ in rows], [pair for _, pair in rows]
        return images, [pair["question"] for pair in pairs], [pair["answer"] == "match" for pair in pairs]
    captions = task.source(split).captions
    counts = np.array([len(own) for own in captions])
    everything = [text for own in captions for text in own]
    others = choose_negatives(counts, counts.max(), np.random.default_rng(_PAIR_SEED))
    owners, texts, truth = [], [], []
    for index, own in enumerate(captions[: limit or None]):
        for place, caption in enumerate(own):
            if others[index, place] >= 0:
                owners += [index, index]
                texts += [caption, everything[others[index, place]]]
                truth += [True, False]
    return owners, texts, truth


def match_labels(task: MatchingTask, rows: BatchRows) -> Callable:
    """The function that maps text numbers to labels, and to whether there is a text."""
    own = task.config.data.captions_per_image
    if task.negatives != "given":

        def by_place(number: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            label = tf.cast(tf.range(tf.shape(number)[1]) < own, tf.float32)
            return tf.broadcast_to(label[None, :, None], (*number.shape, 1)), number >= 0

        return by_place
    labels = [pair["answer"] == "match" for pairs in given_pairs(task, task.config.data.train_split) for pair in pairs]
    labels = tf.constant(labels * (len(rows.texts) // max(len(labels), 1)), tf.float32)

    def by_number(number: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        return tf.gather(labels, tf.maximum(number, 0))[..., None], number >= 0

    return by_number


def nearest_images(task: MatchingTask, model: PairClassifier) -> np.ndarray:
    """The n most similar training images of each, by the cosine of mean image tokens, nearest first: `(images, n)`."""
    split = task.config.data.train_split

    @tf.function
    def pooled(inputs: dict[str, tf.Tensor]) -> tf.Tensor:
        image = image_tokens(model.image_encoder, inputs)
        return masked_mean(tf.cast(image.tokens, tf.float32), image.mask)

    vectors = np.concatenate([pooled(inputs).numpy() for inputs, _ in task._image_batches(model, split)])
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True) + 1e-9
    count = min(task.settings.neighbours, len(vectors) - 1)
    nearest = []
    for start in range(0, len(vectors), 512):
        similarity = vectors[start : start + 512] @ vectors.T
        similarity[np.arange(len(similarity)), start + np.arange(len(similarity))] = -np.inf
        nearest.append(np.argsort(-similarity, axis=1)[:, :count])
    return np.concatenate(nearest)


def given_pairs(task: MatchingTask, split: str) -> list[list[dict[str, str]]]:
    """The labelled texts of each image of a split."""
    pairs = [[q for q in questions if q["kind"] == "pair"] for questions in task.source(split).questions]
    if not any(pairs):
        raise DataError(
            f"`matching.negatives` is given, but split `{split}` of {dataset_name(task.config.data)} has no "
            "labelled pairs; these are lines of a `.tsv` file in `data.manifest`: image, text, match or no-match."
        )
    return pairs


def check_both(task: MatchingTask, split: str, truth: np.ndarray) -> None:
    """Raises `DataError` unless some pairs match and some do not."""
    if truth.all() or not truth.any():
        advice = "" if task.negatives == "given" else " Give it at least two images with captions."
        raise DataError(
            f"Split `{split}` of {dataset_name(task.config.data)} cannot be scored: of its {len(truth)} readable "
            f"pairs {truth.sum()} match, and scores need some that match and some that do not.{advice}"
        )
