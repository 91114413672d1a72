"""A stream of batches as the trainer takes them: grouped for accumulation, split over replicas."""

import tensorflow as tf


def accumulated(dataset, steps):
    """Groups `steps` batches into one element with a leading axis N, to be trained on as if they were one batch.

    Texts are padded to the longest of the group. The sample weights of tokens are made such that the mean over the N
    batches' losses is the mean over the real tokens of all of them; those of whole texts stay as they are.

    Args:
        dataset: of `(x, y, weight)`, weight `(B, K, L)` zero on padding and otherwise of any one value per batch; or
            `(B, K)`.
        steps: N; 1 gives the dataset back.
    """
    if steps == 1:
        return dataset

    if dataset.element_spec[2].shape.rank == 2:
        return dataset.padded_batch(steps, drop_remainder=True)

    def with_tokens(x, y, weight):
        # A batch's weight is its elements over its tokens (all workers' rows), so this is tokens per row of captions.
        highest = tf.reduce_max(weight)
        return x, y, weight, tf.math.divide_no_nan(tf.cast(tf.shape(weight)[2], tf.float32), highest)

    def mean_over_group(x, y, weight, tokens):
        # A worker whose rows hold no token takes the mean of the group's other batches.
        tokens = tf.reduce_mean(tf.boolean_mask(tokens, tokens > 0))
        length = tf.cast(tf.shape(weight)[3], tf.float32)
        return x, y, tf.where(weight > 0, length / tokens, 0.0)

    grouped = dataset.map(with_tokens).padded_batch(steps, drop_remainder=True)
    return grouped.map(mean_over_group, num_parallel_calls=2, deterministic=True)


def distributed(make_dataset, strategy, batch_size, batch_axis=0):
    """Splits every batch over the replicas of `strategy`, in order.

    Each replica gets rows of one and the same global batch at each step, so that loss and gradients are those of one
    replica with the whole batch.

    Args:
        make_dataset: `(num_workers, worker)` to the dataset of a worker's rows.
        batch_size: rows of a global batch; divides by the number of replicas.
        batch_axis: of every tensor.

    Returns:
        What `fit` takes: a dataset, or a distributed one.
    """
    replicas = strategy.num_replicas_in_sync
    if replicas == 1:
        return make_dataset(1, 0)
    rows = batch_size // replicas

    def of_worker(context):
        own = replicas // context.num_input_pipelines

        def part(tensor, replica):
            return tensor[(slice(None),) * batch_axis + (slice(replica * rows, (replica + 1) * rows),)]

        def split(*batch):
            parts = [tf.nest.map_structure(lambda tensor, r=r: part(tensor, r), batch) for r in range(own)]
            return tf.data.Dataset.from_tensor_slices(tf.nest.map_structure(lambda *tensors: tf.stack(tensors), *parts))

        dataset = make_dataset(context.num_input_pipelines, context.input_pipeline_id)
        return dataset.flat_map(split).prefetch(2 * own)

    return strategy.distribute_datasets_from_function(of_worker)
