"""Captions for streams of batches, from one compiled function."""

import itertools

import numpy as np
import tensorflow as tf


class CaptionWriter:
    """Writes captions for batches; the graph is built once, for one batch size, and smaller batches are filled up.

    It reads the captioner's weights as they are at each call, so it stays right while these are trained.

    Args:
        captioner: a `Captioner`.
        tokenizer: a `CaptionTokenizer`.
        settings: arguments of `generate`.
        batch_size: rows of the largest batch.
        jit_compile: compile the search with XLA.
    """

    def __init__(self, captioner, tokenizer, settings, batch_size, jit_compile=False):
        self.batch_size = batch_size
        search = tf.function(lambda inputs: captioner.generate(inputs, **settings), jit_compile=jit_compile)

        @tf.function(reduce_retracing=True)
        def write(inputs):
            written = search(inputs)
            return tokenizer.detokenize(written.tokens), written

        self._write = write

    def __call__(self, inputs):
        """Captions of one batch.

        Args:
            inputs: dict of tensors `(n, …)`, n at most `batch_size`: the reader's inputs, or `image` in their place.

        Returns:
            `(n, K)` list of lists of `str`, best first, and `Generated` with NumPy arrays of n rows.
        """
        rows = len(next(iter(inputs.values())))
        if rows < self.batch_size:
            missing = self.batch_size - rows
            inputs = {name: tf.concat([value, tf.repeat(value[-1:], missing, 0)], 0) for name, value in inputs.items()}
        captions, written = self._write(inputs)
        written = type(written)(*(None if value is None else value.numpy()[:rows] for value in written))
        return [[text.decode("utf-8") for text in row] for row in captions.numpy()[:rows]], written

    def write_all(self, batches, limit, progress=None):
        """Captions and scores of the first `limit` images of `(inputs, indices)` batches.

        Args:
            progress: called with the number of images after each batch.

        Returns:
            List of (index, captions, scores `(K,)`).
        """
        rows = []
        for inputs, indices in itertools.islice(batches, -(-limit // self.batch_size)):
            captions, written = self(inputs)
            rows += zip(np.asarray(indices).tolist(), captions, written.scores, strict=True)
            if progress is not None:
                progress(min(len(rows), limit))
        return rows[:limit]
