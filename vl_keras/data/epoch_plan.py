"""The order of one epoch, computed from `(seed, epoch)` alone, so that training can resume at any step."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

# Images of this many batches are sorted together by caption length: enough for similar lengths in a batch, few enough
# to keep the order random.
_BATCHES_SORTED_TOGETHER = 40


@dataclass(frozen=True)
class PlanRules:
    """Settings that determine an epoch's order, together with the number of the epoch.

    Attributes:
        seed: seed of the order.
        batch_size: B, images per step.
        captions_per_image: K, captions of each image.
        lengths: caption lengths to which batches are padded, in ascending order; the last is the longest allowed.
        views: number of cached versions of each image.
        flip: whether half of the images are mirrored.
        view_flips: `(images, views)` bool, which cached versions are mirrored; replaces `flip`.
        set_aside: whether one caption of each image with two or more becomes its context instead of a target.
        context_dropout: probability that an image's context is replaced by an empty one.
        negatives: number of texts of other images, which follow an image's own K captions.
        neighbours: `(images, n)` images to draw negatives from; None: any other image.
    """

    seed: int
    batch_size: int
    captions_per_image: int
    lengths: tuple[int, ...]
    views: int = 1
    flip: bool = False
    view_flips: np.ndarray | None = None
    set_aside: bool = False
    context_dropout: float = 0.0
    negatives: int = 0
    neighbours: np.ndarray | None = None


@dataclass(frozen=True)
class EpochPlan:
    """The order of one epoch. Captions are numbered through all images; -1 is no caption.

    Attributes:
        images: `(steps, B)` image indices, each at most once.
        captions: `(steps, B, K + negatives)` caption numbers: an image's own in random order, then the negatives.
        contexts: `(steps, B)` caption numbers set aside as context.
        lengths: `(steps,)` caption length L of each step.
        views: `(steps, B)` cached version of each image.
        flips: `(steps, B)` bool, which images are mirrored.
        dropped: `(steps, B)` bool, which contexts are replaced by an empty one.
        seeds: `(steps, B, 2)` int32 seeds of each image's random operations.
    """

    images: np.ndarray
    captions: np.ndarray
    contexts: np.ndarray
    lengths: np.ndarray
    views: np.ndarray
    flips: np.ndarray
    dropped: np.ndarray
    seeds: np.ndarray


def plan_epoch(rules: PlanRules, caption_counts: np.ndarray, caption_tokens: np.ndarray, epoch: int) -> EpochPlan:
    """Plans an epoch of `len(caption_counts) // batch_size` steps; the images left over are not in this epoch.

    Images are shuffled. Runs of some tens of batches are sorted by the longest chosen caption and cut into batches, so
    that batches need little padding; then the batches are shuffled.

    Args:
        rules: settings of the order.
        caption_counts: `(images,)` number of captions of each image.
        caption_tokens: `(captions,)` number of tokens of each caption, including the end token.
        epoch: number of the epoch, from 0.
    """
    count, size = len(caption_counts), rules.batch_size
    steps = count // size

    def random(purpose: int) -> np.random.Generator:  # separate streams: a setting does not change others' numbers
        return np.random.default_rng([rules.seed % 2**63, epoch, purpose])

    captions, contexts = _choose_captions(rules, caption_counts, random(0))
    if rules.negatives:
        others = choose_negatives(caption_counts, rules.negatives, random(7), rules.neighbours)
        captions = np.concatenate([captions, others], axis=1)
    tokens = np.append(caption_tokens, 0)[captions].max(axis=1, initial=0)

    order = random(1).permutation(count)[: steps * size]
    run = size * _BATCHES_SORTED_TOGETHER
    for start in range(0, len(order), run):
        images = order[start : start + run]
        order[start : start + run] = images[np.argsort(tokens[images], kind="stable")]
    order = order.reshape(steps, size)[random(2).permutation(steps)]

    views = random(3).integers(rules.views, size=count)
    if rules.view_flips is not None:
        flips = rules.view_flips[np.arange(count), views]
    else:
        flips = (random(4).random(count) < 0.5) & rules.flip
    dropped = random(5).random(count) < rules.context_dropout
    seeds = random(6).integers(2**31 - 1, size=(count, 2), dtype=np.int32)

    longest = tokens[order].max(axis=1, initial=0)
    lengths = np.asarray(rules.lengths)
    fits = np.minimum(np.searchsorted(lengths, longest), len(lengths) - 1)
    return EpochPlan(
        images=order,
        captions=captions[order],
        contexts=contexts[order],
        lengths=lengths[fits],
        views=views[order],
        flips=flips[order],
        dropped=dropped[order],
        seeds=seeds[order],
    )


def caption_lengths(length_buckets: Iterable[int], max_length: int) -> tuple[int, ...]:
    """The lengths to which batches are padded: the buckets below `max_length`, then `max_length` itself."""
    return (*(length for length in length_buckets if length < max_length), max_length)


def choose_negatives(
    caption_counts: ArrayLike, count: int, random: np.random.Generator, neighbours: np.ndarray | None = None
) -> np.ndarray:
    """Draws captions of other images for each image.

    Args:
        caption_counts: `(images,)` number of captions of each image; captions are numbered through all images.
        count: N, the number of captions to draw for each image.
        random: random generator.
        neighbours: `(images, n)` images to draw from; None: all others that have captions, with equal probability.

    Returns:
        `(images, N)` caption numbers; -1 where there is no image to draw from.
    """
    counts = np.asarray(caption_counts, np.int64)
    first = np.cumsum(counts) - counts
    images = np.arange(len(counts))[:, np.newaxis]
    if neighbours is not None:
        other = np.take_along_axis(neighbours, random.integers(neighbours.shape[1], size=(len(counts), count)), axis=1)
    else:
        there = np.flatnonzero(counts)
        # An image that has captions itself has one place less to draw from, and its own place is skipped.
        own = np.where(counts > 0, np.searchsorted(there, images[:, 0]), len(there))[:, np.newaxis]
        room = np.maximum(len(there) - (own < len(there)), 1)
        place = random.integers(0, np.broadcast_to(room, (len(counts), count)))
        other = there[np.minimum(place + (place >= own), len(there) - 1)]
    other = np.where(other == images, -1, other)
    number = first[other] + random.integers(0, np.maximum(counts[other], 1))
    return np.where((other >= 0) & (counts[other] > 0), number, -1)


def _choose_captions(
    rules: PlanRules, caption_counts: ArrayLike, random: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """`(images, K)` caption numbers and `(images,)` contexts, by shuffling the captions of every image."""
    caption_counts = np.asarray(caption_counts, np.int64)
    owner = np.repeat(np.arange(len(caption_counts)), caption_counts)
    first = np.cumsum(caption_counts) - caption_counts
    shuffled = np.lexsort((random.random(len(owner)), owner))
    place = np.arange(len(owner)) - first[owner]
    if rules.set_aside:
        place = place - (caption_counts >= 2)[owner]  # the one at place -1 becomes the context
    captions = np.full((len(caption_counts), rules.captions_per_image), -1, np.int64)
    chosen = (place >= 0) & (place < rules.captions_per_image)
    captions[owner[chosen], place[chosen]] = shuffled[chosen]
    contexts = np.full(len(caption_counts), -1, np.int64)
    contexts[owner[place < 0]] = shuffled[place < 0]
    return captions, contexts
