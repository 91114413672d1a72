"""What is in each batch, before any image is read: indices, caption ids, contexts, seeds."""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from vl_keras.config import Config
from vl_keras.data.caption_words import content_words, set_aside_caption, swap_sides
from vl_keras.data.epoch_plan import EpochPlan, PlanRules, caption_lengths, plan_epoch
from vl_keras.data.feature_cache import FeatureCache
from vl_keras.data.source import Source
from vl_keras.progress import shown

_TOKENIZED_AT_ONCE = 8192
_TYPES = {
    "index": tf.int64,
    "view": tf.int64,
    "flip": tf.bool,
    "seed": tf.int32,
    "context": tf.string,
    "target": tf.int32,
    "number": tf.int64,
}


class BatchRows:
    """The rows of any step: computed from `(seed, step)`, without the steps before it.

    Args:
        config: `Config`.
        source: a `Source`.
        tokenizer: a `CaptionTokenizer`, which tells how long captions are; or a `HubTokenizer`.
        training: rows of an endless shuffled stream; or each image once, in order.
        features: a `FeatureCache`, or None: it has views of each image to choose among, some of them mirrored.
        texts: list of strings an image, to stand for the source's captions.
        negatives, neighbours: texts of other images, as in `PlanRules`.
    """

    def __init__(
        self,
        config: Config,
        source: Source,
        tokenizer: Any,
        training: bool,
        features: FeatureCache | None = None,
        texts: Sequence[Sequence[str]] | None = None,
        negatives: int = 0,
        neighbours: np.ndarray | None = None,
    ) -> None:
        data = config.data
        self._config, self._source, self._tokenizer, self._training = config, source, tokenizer, training
        texts = source.captions if texts is None else texts
        self._counts = np.array([len(own) for own in texts], np.int64)
        self._captions = _object_array([text.encode("utf-8") for own in texts for text in own])
        mirrors = features.flipped.any() if features is not None else data.augment.flip
        self.texts = self._captions
        self._mirrored: np.ndarray | None = None
        if training and mirrors:
            self.texts, self._mirrored = _with_mirrored(self._captions)
        # Tokenizing is a good part of what a small image's decoding costs, so captions are tokenized once.
        self._tokens, self._first, self._size = _tokenize(tokenizer, self.texts)
        self._rules = PlanRules(
            seed=config.training.seed,
            batch_size=data.batch_size,
            captions_per_image=data.captions_per_image,
            lengths=caption_lengths(data.length_buckets, tokenizer.max_length or config.text.max_length),
            views=features.views if features is not None else 1,
            flip=data.augment.flip,
            view_flips=features.flipped if features is not None else None,
            set_aside=data.context == "caption_words",
            context_dropout=data.context_dropout,
            negatives=negatives,
            neighbours=neighbours,
        )
        sizes = self._size[: len(self._captions)] + 1  # with the end token
        # Two epochs, because batches of the next are prepared while the last of this one are used.
        self._epoch = functools.lru_cache(maxsize=2)(lambda epoch: plan_epoch(self._rules, self._counts, sizes, epoch))
        self._in_order = None if training else self._plan_in_order(sizes)

    def at(self, step: tf.Tensor, mine: slice = slice(None)) -> dict[str, tf.Tensor]:
        """The rows of `step`, in the graph.

        Args:
            step: scalar int64.
            mine: slice of the batch whose images are wanted.

        Returns:
            Dict. Of the images in `mine`: "index" and "view" `(B,)` int64, "flip" `(B,)` bool, "seed" `(B, 2)` int32,
            "context" `(B,)` strings. Of the whole batch: "target" `(B, K, L)` int32, captions with their end token,
            padded; a missing caption is all padding; "number" `(B, K)` int64, which captions these are, -1 for none;
            of mirrored images as many after all others.
        """
        rows = dict(zip(_TYPES, tf.numpy_function(self._rows, [step], list(_TYPES.values())), strict=True))
        size = self._rules.batch_size if self._training else None
        count = self._rules.captions_per_image + self._rules.negatives
        shapes = {"seed": (size, 2), "target": (size, count, None), "number": (size, count)}
        for name, value in rows.items():
            value.set_shape(shapes.get(name, (size,)))
        return {name: value if name in ("target", "number") else value[mine] for name, value in rows.items()}

    def _rows(self, step: int) -> tuple[np.ndarray, ...]:
        epoch: int = 0
        part: int | slice
        if self._in_order is None:
            epoch, part = divmod(int(step), len(self._source) // self._rules.batch_size)
            plan = self._epoch(epoch)
        else:
            part = slice(step * self._rules.batch_size, (step + 1) * self._rules.batch_size)
            plan = self._in_order
        index, flip = plan.images[part], plan.flips[part]
        chosen = plan.captions[part]
        target = self._target(chosen, flip, np.max(plan.lengths[part]), epoch, part)
        if self._mirrored is not None:
            chosen = np.where((chosen >= 0) & flip[:, np.newaxis], self._mirrored[chosen], chosen)
        return index, plan.views[part], flip, plan.seeds[part], self._contexts(plan, part), target, chosen

    def _target(self, chosen: np.ndarray, flip: np.ndarray, length: int, epoch: int, step: Any) -> np.ndarray:
        """`(B, K)` caption numbers -> `(B, K, length)` ids."""
        augment = self._config.data.augment
        chances = {"synonym": augment.synonym, "word_deletion": augment.word_deletion, "word_swap": augment.word_swap}
        there = chosen >= 0
        target = np.full((*chosen.shape, length), self._tokenizer.PAD, np.int32)
        if self._training and any(chances.values()):
            from vl_keras.data.text_augment import augment_captions  # its WordNet is an optional part

            random = np.random.default_rng([self._rules.seed % 2**63, epoch, step])
            mirror = np.broadcast_to(flip[:, np.newaxis], chosen.shape)[there]
            texts = [self._captions[number].decode("utf-8") for number in chosen[there]]
            texts = [swap_sides(text) if turned else text for text, turned in zip(texts, mirror, strict=True)]
            changed = _object_array([text.encode("utf-8") for text in augment_captions(texts, random, **chances)])
            target[there] = self._pad(*_tokenize(self._tokenizer, changed), length)
            return target
        if self._mirrored is not None:
            chosen = np.where(flip[:, np.newaxis], self._mirrored[chosen], chosen)
        numbers = chosen[there]
        target[there] = self._pad(self._tokens, self._first[numbers], self._size[numbers], length)
        return target

    def _pad(self, tokens: np.ndarray, first: np.ndarray, size: np.ndarray, length: int) -> np.ndarray:
        """`(n, length)` ids of n captions, each with its end token; one made too long (mirrored, augmented) is cut."""
        size = np.minimum(size, length - 1)[:, np.newaxis]
        place = np.arange(length)
        ids = np.take(tokens, first[:, np.newaxis] + place, mode="clip")
        return np.where(place < size, ids, np.where(place == size, self._tokenizer.END, self._tokenizer.PAD))

    def _contexts(self, plan: EpochPlan, part: int | slice) -> np.ndarray:
        data, index = self._config.data, plan.images[part]
        if data.context == "none" or not data.show_context:
            return _object_array([b""] * len(index))
        if data.context == "field":
            contexts = _object_array([self._source.contexts[i].encode("utf-8") for i in index])
        else:
            numbers = plan.contexts[part]
            contexts = _object_array([_on_text(content_words, self._captions[n]) if n >= 0 else b"" for n in numbers])
        for place in np.flatnonzero(plan.flips[part]):
            contexts[place] = _on_text(swap_sides, contexts[place])
        contexts[plan.dropped[part]] = b""
        return contexts

    def _plan_in_order(self, sizes: np.ndarray) -> EpochPlan:
        count, rules = len(self._source), self._rules
        first = np.cumsum(self._counts) - self._counts
        captions = np.full((count, rules.captions_per_image), -1, np.int64)
        contexts = np.full(count, -1, np.int64)
        for index in range(count):
            own = list(range(first[index], first[index] + self._counts[index]))
            aside = set_aside_caption(self._source.image_ids[index], len(own)) if rules.set_aside else -1
            if aside >= 0:
                contexts[index] = own.pop(aside)
            own = own[: rules.captions_per_image]
            captions[index, : len(own)] = own
        longest = np.append(sizes, 0)[captions].max(axis=1, initial=0)
        lengths = np.asarray(rules.lengths)
        return EpochPlan(
            images=np.arange(count),
            captions=captions,
            contexts=contexts,
            lengths=lengths[np.minimum(np.searchsorted(lengths, longest), len(lengths) - 1)],
            views=np.zeros(count, np.int64),
            flips=np.zeros(count, bool),
            dropped=np.zeros(count, bool),
            seeds=np.zeros((count, 2), np.int32),
        )


def _with_mirrored(captions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Captions followed by the mirrored ones, with their sides swapped, and `(captions,)` numbers of the mirrored."""
    swapped = (_on_text(swap_sides, text) for text in captions)
    return _object_array([*captions, *swapped]), len(captions) + np.arange(len(captions))


def _tokenize(tokenizer: Any, captions: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Ids of all captions in one array, where each begins there, and how many it has."""
    tokens, sizes = [np.zeros(1, np.int32)], []
    starts = range(0, len(captions), _TOKENIZED_AT_ONCE)
    for start in shown(starts, "tokenizing captions"):
        texts = tf.constant(captions[start : start + _TOKENIZED_AT_ONCE], tf.string)
        ids = tokenizer.tokenize(tokenizer.tidy(texts))
        tokens.append(ids.flat_values.numpy())
        sizes.append(ids.row_lengths().numpy())
    size = np.concatenate([np.zeros(0, np.int64), *sizes])
    return np.concatenate(tokens), 1 + np.cumsum(size) - size, size


def _on_text(function: Callable[[str], str], content: bytes) -> bytes:
    return function(content.decode("utf-8")).encode("utf-8")


def _object_array(values: Sequence[Any]) -> np.ndarray:
    array = np.empty(len(values), object)
    array[:] = values
    return array
