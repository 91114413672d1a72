"""Rows of two kinds in a graph, each read by a graph of its own; the graph of a kind that is absent costs nothing."""

from collections.abc import Callable

import tensorflow as tf


def read_by_kind(
    is_usual: tf.Tensor,
    parts: tuple[tf.Tensor, ...],
    read: Callable[[bool], Callable[..., tuple[tf.Tensor, ...]]],
    **options: object,
) -> tf.data.Dataset:
    """Reads rows, the usual ones first; rows that fail are left out.

    Args:
        is_usual: `(B,)` bool.
        parts: tensors `(B, …)`; a row is one element of each.
        read: returns the function that reads a row, given whether the row is usual.
        options: of `tf.data.Dataset.map`.

    Returns:
        The dataset of what is read.
    """

    def those(which: tf.Tensor, usual: bool) -> tf.data.Dataset:
        slices = tuple(tf.boolean_mask(part, which) for part in parts)
        return tf.data.Dataset.from_tensor_slices(slices).map(read(usual), **options).ignore_errors()

    # To prepare a graph for a dataset takes as long as reading some rows, so it is done only where there are any.
    has_others = tf.cast(tf.reduce_any(~is_usual), tf.int64)
    others = tf.data.Dataset.from_tensors(0).take(has_others).flat_map(lambda _: those(~is_usual, False))
    return those(is_usual, True).concatenate(others)
