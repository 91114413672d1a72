"""Writes captions for streams of batches with one compiled function."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import tensorflow as tf

if TYPE_CHECKING:
    from vl_keras.data.text_ops import CaptionTokenizer
    from vl_keras.decoders.generation import Generated
    from vl_keras.models.captioner import Captioner


class CaptionWriter:
    """Writes captions for batches; the graph is built once, for one batch size, and smaller batches are filled up.

    Each call uses the captioner's current weights, so it can be used while they are trained.

    Args:
        captioner: a `Captioner`.
        tokenizer: a `CaptionTokenizer`.
        settings: arguments of `generate`.
        batch_size: rows of the largest batch.
        jit_compile: compile the search with XLA.
    """

    def __init__(
        self,
        captioner: Captioner,
        tokenizer: CaptionTokenizer,
        settings: Mapping[str, Any],
        batch_size: int,
        jit_compile: bool = False,
    ) -> None:
        self.batch_size = batch_size
        search = tf.function(lambda inputs: captioner.generate(inputs, **settings), jit_compile=jit_compile)

        @tf.function(reduce_retracing=True)
        def write(inputs: dict[str, tf.Tensor]) -> tuple[tf.Tensor, Generated]:
            written = search(inputs)
            return tokenizer.detokenize(written.tokens), written

        self._write = write

    def __call__(self, inputs: dict[str, tf.Tensor]) -> tuple[list[list[str]], Any]:
        """Writes the captions of one batch.

        Args:
            inputs: dict of tensors `(n, …)`, n at most `batch_size`: the reader's inputs, or `image` instead of
                its tokens.

        Returns:
            For each of the n images a list of K captions, best first; and `Generated` with NumPy arrays of n rows.
        """
        rows = len(next(iter(inputs.values())))
        if rows < self.batch_size:
            missing = self.batch_size - rows
            inputs = {name: tf.concat([value, tf.repeat(value[-1:], missing, 0)], 0) for name, value in inputs.items()}
        captions, written = self._write(inputs)
        written = type(written)(*(None if value is None else value.numpy()[:rows] for value in written))
        return [[text.decode("utf-8") for text in row] for row in captions.numpy()[:rows]], written

    def write_all(
        self,
        batches: Iterable[tuple[dict[str, tf.Tensor], Any]],
        limit: int,
        progress: Callable[[int], None] | None = None,
    ) -> list[tuple[int, list[str], np.ndarray]]:
        """Writes the captions of the first images of some batches.

        Args:
            batches: `(inputs, indices)` each.
            limit: number of images.
            progress: called with the number of images that are done, after each batch.

        Returns:
            List of `(index, captions, scores)`; scores are `(K,)`.
        """
        rows: list[tuple[int, list[str], np.ndarray]] = []
        for inputs, indices in itertools.islice(batches, -(-limit // self.batch_size)):
            captions, written = self(inputs)
            rows += zip(np.asarray(indices).tolist(), captions, written.scores, strict=True)
            if progress is not None:
                progress(min(len(rows), limit))
        return rows[:limit]
