"""Row and column reductions of the image-text similarity matrix, without holding the whole matrix."""

from collections.abc import Callable
from typing import Any

import tensorflow as tf


def reduce_similarity(
    terms: Callable[[tf.Tensor, tf.Tensor], tf.Tensor],
    reduce: Callable[..., tf.Tensor],
    neutral: float,
    image: tf.Tensor,
    text: tf.Tensor,
    owner: tf.Tensor,
    scale: float | tf.Tensor = 1.0,
    bias: float | tf.Tensor = 0.0,
    chunk_size: int | None = None,
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Reduces the matrix `scale * text · imageᵀ + bias` along both axes.

    With `chunk_size`, the rows of that many texts are computed at a time, and computed again for the gradient: memory
    grows with `chunk_size * B` instead of `M * B`, for a third more arithmetic. This holds inside a `tf.function`; an
    eager gradient tape keeps the results of every operation.

    Args:
        terms: function of similarities `(rows, B)` float32 and a mask `(rows, B)` bool, True where the text belongs to
            the image, to the terms to be reduced `(rows, B)`.
        reduce: `tf.reduce_sum`, `tf.reduce_max` or `tf.reduce_logsumexp`: reducing the results of all parts must yield
            the result of the whole.
        neutral: a term that does not change the result of `reduce`.
        image: `(B, D)` float.
        text: `(M, D)` float.
        owner: `(M,)` int: for each text, the row of `image` that it belongs to.
        scale, bias: scalars of the similarities.
        chunk_size: texts at a time; None takes all at once.

    Returns:
        float32: `(M,)` similarity of each text to its own image, `(M,)` reduction of each text's terms, and `(B,)`
        reduction of each image's terms.

    Raises:
        ValueError: `chunk_size` is less than 1.
    """
    image, text, scale, bias = (tf.cast(tensor, tf.float32) for tensor in (image, text, scale, bias))
    owner = tf.cast(owner, tf.int32)
    number = tf.range(tf.shape(image)[0])

    def reductions(
        image: tf.Tensor,
        text: tf.Tensor,
        scale: tf.Tensor,
        bias: tf.Tensor,
        owner: tf.Tensor,
        padded: bool = False,
    ) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        similarity = tf.matmul(scale * text, image, transpose_b=True) + bias
        same = owner[:, None] == number
        own = tf.reduce_sum(tf.where(same, similarity, 0.0), axis=1)
        values = terms(similarity, same)
        if padded:
            values = tf.where(owner[:, None] < 0, neutral, values)
        return own, reduce(values, axis=1), reduce(values, axis=0)

    if chunk_size is None:
        return reductions(image, text, scale, bias, owner)
    if chunk_size < 1:
        raise ValueError(f"`chunk_size` must be at least 1, or None for no chunks; got {chunk_size}.")

    count = tf.shape(text)[0] if text.shape[0] is None else text.shape[0]
    num_chunks = (count + chunk_size - 1) // chunk_size
    padding = num_chunks * chunk_size - count
    padded = tf.is_tensor(padding) or padding > 0
    chunks, owners = text, owner
    if padded:
        chunks = tf.pad(text, [[0, padding], [0, 0]])
        owners = tf.pad(owner, [[0, padding]], constant_values=-1)
    chunks = tf.reshape(chunks, [num_chunks, chunk_size, text.shape[-1]])
    owners = tf.reshape(owners, [num_chunks, chunk_size])

    @tf.custom_gradient
    def reduce_chunks(image: tf.Tensor, chunks: tf.Tensor, scale: tf.Tensor, bias: tf.Tensor) -> Any:
        results = tf.map_fn(
            lambda place: reductions(image, chunks[place], scale, bias, owners[place], padded),
            tf.range(num_chunks),
            fn_output_signature=(tf.float32, tf.float32, tf.float32),
            parallel_iterations=1,
        )

        def gradient(*upstream: tf.Tensor) -> tuple[tf.Tensor, ...]:
            def add(place: tf.Tensor, of_chunks: tf.TensorArray, sums: list[tf.Tensor]) -> Any:
                inputs = (chunks[place], image, scale, bias)
                with tf.GradientTape() as tape:
                    tape.watch(inputs)
                    again = reductions(image, inputs[0], scale, bias, owners[place], padded)
                to_chunk, *more = tape.gradient(again, inputs, [part[place] for part in upstream])
                sums = [total + part for total, part in zip(sums, more, strict=True)]
                return place + 1, of_chunks.write(place, to_chunk), sums

            _, of_chunks, (of_image, of_scale, of_bias) = tf.while_loop(
                lambda place, *_: place < num_chunks,
                add,
                (0, tf.TensorArray(tf.float32, num_chunks), [tf.zeros_like(sum_of) for sum_of in (image, scale, bias)]),
                parallel_iterations=1,
            )
            return of_image, of_chunks.stack(), of_scale, of_bias

        return results, gradient

    own, of_text, of_image = reduce_chunks(image, chunks, scale, bias)
    return tf.reshape(own, [-1])[:count], tf.reshape(of_text, [-1])[:count], reduce(of_image, axis=0)


def negatives(similarity: tf.Tensor, same: tf.Tensor) -> tf.Tensor:
    """Keeps the similarities of pairs that do not match, and replaces those of matching pairs by the lowest float."""
    return tf.where(same, similarity.dtype.min, similarity)
