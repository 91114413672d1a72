"""The order of one epoch, computed from `(seed, epoch)` alone: any step can be taken up without the steps before it."""

from dataclasses import dataclass

import numpy as np

# Batches whose images are sorted together by caption length: enough to make lengths alike, few enough to keep the mix.
_BATCHES_SORTED_TOGETHER = 40


@dataclass(frozen=True)
class PlanRules:
    """What an epoch's order depends on besides `(seed, epoch)`.

    Attributes:
        batch_size, captions_per_image: images per step and captions of each (K).
        lengths: rising caption lengths that batches are padded to; the last is the longest allowed.
        views: cached versions of each image to choose among.
        flip: mirror half of the images.
        view_flips: `(images, views)` bool, which cached images are mirrored; then `flip` is not asked.
        set_aside: one caption of each image that has two or more becomes its context, not a target.
        context_dropout: chance that an image is shown an empty context.
        negatives: texts of other images that follow an image's own K.
        neighbours: `(images, n)` images that these are drawn from; None: any other image.
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
    """One epoch. Captions are numbered through all images; -1 is none.

    Attributes:
        images: `(steps, B)` image indices, each at most once.
        captions: `(steps, B, K)` caption numbers, in random order; then, of the third axis, those of the negatives.
        contexts: `(steps, B)` caption numbers set aside as context.
        lengths: `(steps,)` caption length L of each step.
        views: `(steps, B)` cached version of each image.
        flips: `(steps, B)` bool, mirrored images.
        dropped: `(steps, B)` bool, contexts shown empty.
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


def plan_epoch(rules, caption_counts, caption_tokens, epoch):
    """The `EpochPlan` of an epoch: `len(caption_counts) // batch_size` steps; images left over wait for another epoch.

    Images are shuffled; runs of some tens of batches are sorted by the longest chosen caption and cut into batches, so
    that a batch pads little; then the batches are shuffled.

    Args:
        rules: `PlanRules`.
        caption_counts: `(images,)` captions of each image.
        caption_tokens: `(captions,)` tokens of each caption, the end token included.
        epoch: number from 0.
    """
    count, size = len(caption_counts), rules.batch_size
    steps = count // size

    def random(purpose):  # streams of their own, so that one setting does not move what another draws
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


def caption_lengths(length_buckets, max_length):
    """The lengths that batches are padded to: the buckets below `max_length`, then `max_length` itself."""
    return (*(length for length in length_buckets if length < max_length), max_length)


def choose_negatives(caption_counts, count, random, neighbours=None):
    """Captions of other images for each image.

    Args:
        caption_counts: `(images,)` captions of each image; captions are numbered through all images.
        count: N of each image.
        random: NumPy generator.
        neighbours: `(images, n)` images to draw from; None: all others that have captions, each as likely.

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
        # One place less for an image that has captions itself, and its own place is stepped over.
        own = np.where(counts > 0, np.searchsorted(there, images[:, 0]), len(there))[:, np.newaxis]
        room = np.maximum(len(there) - (own < len(there)), 1)
        place = random.integers(0, np.broadcast_to(room, (len(counts), count)))
        other = there[np.minimum(place + (place >= own), len(there) - 1)]
    other = np.where(other == images, -1, other)
    number = first[other] + random.integers(0, np.maximum(counts[other], 1))
    return np.where((other >= 0) & (counts[other] > 0), number, -1)


def _choose_captions(rules, caption_counts, random):
    """`(images, K)` caption numbers and `(images,)` contexts, by shuffling the captions within every image."""
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
