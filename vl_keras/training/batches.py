"""Batches in the form that `fit` takes: grouped for gradient accumulation, split over replicas."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import tensorflow as tf


def accumulated(dataset: tf.data.Dataset, steps: int) -> tf.data.Dataset:
    """Groups `steps` batches into one element with a leading axis N, for training as if they were one batch.

    Texts are padded to the longest of the group. The sample weights of tokens are scaled so that the mean of the N
    batches' losses is the mean over the real tokens of all batches; the sample weights of whole texts stay unchanged.

    Args:
        dataset: of `(x, y, weight)`; weight is `(B, K, L)`, zero on padding and one constant elsewhere in a batch; or
            `(B, K)`.
        steps: N; with 1 the dataset is returned unchanged.

    Returns:
        The dataset of groups.
    """
    if steps == 1:
        return dataset

    if dataset.element_spec[2].shape.rank == 2:
        return dataset.padded_batch(steps, drop_remainder=True)

    def with_tokens(x: Any, y: Any, weight: tf.Tensor) -> tuple[Any, Any, tf.Tensor, tf.Tensor]:
        # A batch's weight is its number of elements over its number of tokens (of all workers' rows), so this is the
        # number of tokens per text.
        highest = tf.reduce_max(weight)
        return x, y, weight, tf.math.divide_no_nan(tf.cast(tf.shape(weight)[2], tf.float32), highest)

    def mean_over_group(x: Any, y: Any, weight: tf.Tensor, tokens: tf.Tensor) -> tuple[Any, Any, tf.Tensor]:
        # A batch without tokens gets the mean of the group's other batches.
        tokens = tf.reduce_mean(tf.boolean_mask(tokens, tokens > 0))
        length = tf.cast(tf.shape(weight)[3], tf.float32)
        return x, y, tf.where(weight > 0, length / tokens, 0.0)

    grouped = dataset.map(with_tokens).padded_batch(steps, drop_remainder=True)
    return grouped.map(mean_over_group, num_parallel_calls=2, deterministic=True)


def distributed(
    make_dataset: Callable[[int, int], tf.data.Dataset],
    strategy: tf.distribute.Strategy,
    batch_size: int,
    batch_axis: int = 0,
) -> Any:
    """Splits every batch over the replicas of `strategy`, in order.

    At each step all replicas get rows of the same global batch, so the loss and the gradients equal those of one
    replica with the whole batch.

    Args:
        make_dataset: maps `(num_workers, worker)` to the dataset of a worker's rows.
        strategy: that the model is trained under.
        batch_size: rows of a global batch; must be divisible by the number of replicas.
        batch_axis: axis of the rows in every tensor.

    Returns:
        What `fit` takes: a dataset, or a distributed one.
    """
    replicas = strategy.num_replicas_in_sync
    if replicas == 1:
        return make_dataset(1, 0)
    rows = batch_size // replicas

    def of_worker(context: tf.distribute.InputContext) -> tf.data.Dataset:
        own = replicas // context.num_input_pipelines

        def part(tensor: tf.Tensor, replica: int) -> tf.Tensor:
            return tensor[(slice(None),) * batch_axis + (slice(replica * rows, (replica + 1) * rows),)]

        def split(*batch: Any) -> tf.data.Dataset:
            parts = [tf.nest.map_structure(lambda tensor, r=r: part(tensor, r), batch) for r in range(own)]
            return tf.data.Dataset.from_tensor_slices(tf.nest.map_structure(lambda *tensors: tf.stack(tensors), *parts))

        dataset = make_dataset(context.num_input_pipelines, context.input_pipeline_id)
        return dataset.flat_map(split).prefetch(2 * own)

    return strategy.distribute_datasets_from_function(of_worker)
