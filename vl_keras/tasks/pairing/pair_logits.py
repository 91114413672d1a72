"""Logits of image-text pairs of a split; each image and each text is encoded once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import tensorflow as tf

from vl_keras.models.pair_classifier import pair_inputs
from vl_keras.models.token_reader import MaskedTokens

if TYPE_CHECKING:
    from vl_keras.tasks.pairing.pair_task import PairTask

_PAIRS_AT_ONCE = 256


class PairLogits:
    """Computes the logits of pairs of a split; its graphs are built once.

    Args:
        task: a `PairTask`.
        model: its `PairClassifier`.
    """

    def __init__(self, task: PairTask, model: Any) -> None:
        self.model = model
        self._task = task

        def from_tokens(regions: MaskedTokens, rows: tf.Tensor, tokens: tf.Tensor, mask: tf.Tensor) -> tf.Tensor:
            inputs = pair_inputs(regions.rows(rows), MaskedTokens(tokens, mask))
            return model.pair_reader(inputs, training=False)["logits"]

        def from_ids(regions: MaskedTokens, rows: tf.Tensor, ids: tf.Tensor) -> tf.Tensor:
            return model.answer(regions.rows(rows), ids)["logits"]

        self._read_images, self._from_tokens, self._from_ids = (
            tf.function(function, reduce_retracing=True, autograph=False)
            for function in (model.read_images, from_tokens, from_ids)
        )

    def __call__(
        self,
        split: str,
        owners: Sequence[int],
        texts: Sequence[str],
        progress: Callable[[int], None] | None = None,
    ) -> np.ndarray:
        """Logits of pairs.

        Args:
            split: name.
            owners: `(P,)` ints, the index of each pair's image in the source.
            texts: P strings.
            progress: called with the number of images that were read.

        Returns:
            `(P, A)` float32; NaN if the image cannot be read.
        """
        task = self._task
        image = np.asarray(owners)
        unique = {text: number for number, text in enumerate(dict.fromkeys(texts))}
        numbers = np.array([unique[text] for text in texts], np.int64)
        read, function, lengths = self._text_reader(list(unique))
        logits = np.full((len(image), task.num_outputs), np.nan, np.float32)
        order = np.argsort(image, kind="stable")
        ranked = image[order]
        last = ranked[-1] if len(ranked) else -1
        done = 0
        for inputs, indices in task._image_batches(self.model, split):
            pairs = order[np.searchsorted(ranked, indices[0]) : np.searchsorted(ranked, indices[-1], side="right")]
            regions = self._read_images(inputs) if len(pairs) else None
            # Texts of similar length together, so that little is padded.
            pairs = pairs[np.argsort(lengths[numbers[pairs]], kind="stable")]
            for start in range(0, len(pairs), _PAIRS_AT_ONCE):
                chosen = pairs[start : start + _PAIRS_AT_ONCE]
                rows = np.searchsorted(indices, image[chosen])
                logits[chosen] = function(regions, tf.constant(rows), *read(numbers[chosen]))
            done += len(indices)
            if progress is not None:
                progress(done)
            if indices[-1] >= last:
                break
        source = task.source(split)
        bad = [index for index, name in enumerate(source.image_ids) if name in source.quarantine]
        logits[np.isin(owners, bad)] = np.nan
        return logits

    def _text_reader(self, texts: list[str]) -> tuple[Callable, Callable, np.ndarray]:
        """A function that reads texts by number, one of `(regions, rows, *texts)` to logits, and the texts' lengths."""
        task = self._task
        if task.config.text_encoder.cache_features:
            features = task.text_features(self.model, texts)

            def read_tokens(numbers: np.ndarray) -> tuple[tf.Tensor, tf.Tensor]:
                tokens, mask = features.read(numbers)
                return tf.constant(tokens), tf.constant(mask)

            return read_tokens, self._from_tokens, features.lengths
        ids = task._ids(texts)
        lengths = np.array([len(text) for text in ids], np.int64)

        def read_ids(numbers: np.ndarray) -> tuple[tf.Tensor]:
            padded = np.zeros((len(numbers), max(int(lengths[numbers].max()), 1)), np.int32)
            for row, number in enumerate(numbers):
                padded[row, : lengths[number]] = ids[number]
            return (tf.constant(padded),)

        return read_ids, self._from_ids, lengths
