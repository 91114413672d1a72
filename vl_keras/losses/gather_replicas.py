"""A contrastive loss over the batch of all replicas: each needs the vectors of the others as negatives."""

import tensorflow as tf


def replica_loss(loss, image, text, owner, *arguments, **settings):
    """This replica's part of a loss over the whole batch, to be differentiated in a train step as it is.

    Every replica computes the loss of all rows, divided by the number of replicas. The gradients of the parts, summed
    over replicas as Keras's optimizers do in `apply_gradients`, are then those of one device with the whole batch: with
    respect to the encoders' weights, each replica's gradient is that of the whole loss through its own rows (summing
    over replicas is part of `gather_replicas`'s gradient); with respect to a learned scale or bias, every replica's is
    the whole, divided. Without a strategy this is `loss(image, text, owner, ...)`.

    Not inside a loop over accumulated batches: replicas cannot meet in one, and the loss of several small batches is
    not that of a large one. For batches larger than memory give this as the loss of `cached_gradients`.

        with tf.GradientTape() as tape:
            image, text = encode(x)
            loss = replica_loss(info_nce, image, text, owner, log_scale)
        optimizer.minimize(loss, variables, tape)
        loss_tracker.update_state(loss * tf.distribute.get_strategy().num_replicas_in_sync)

    Args:
        loss: function of `(image, text, owner, *arguments, **settings)` to a scalar, a mean over the batch.
        image: `(B, D)` this replica's images. B is the same on all replicas.
        text: `(M, D)` its texts.
        owner: `(M,)` int: the image, a row of this replica's `image`, that each text belongs to.
    """
    whole = loss(*gather_pairs(image, text, owner), *arguments, **settings)
    return whole / tf.distribute.get_strategy().num_replicas_in_sync


def gather_pairs(image, text, owner):
    """The images, texts and owners of all replicas, owners numbering the gathered images; see `replica_loss`."""
    if tf.distribute.get_strategy().num_replicas_in_sync == 1:
        return image, text, owner
    number = _replica_context().replica_id_in_sync_group
    owner = tf.cast(owner, tf.int32) + tf.cast(number, tf.int32) * tf.shape(image)[0]
    return gather_replicas(image), gather_replicas(text), gather_replicas(owner)


def gather_replicas(tensor):
    """All replicas' rows of a tensor, in the order of the replicas; the tensor itself without a strategy.

    The gradient is that of the sum of all replicas' losses: what every replica has for these rows, summed.

    Raises:
        RuntimeError: outside of `strategy.run`.
    """
    replicas = tf.distribute.get_strategy().num_replicas_in_sync
    if replicas == 1:
        return tensor
    rows = None if tensor.shape[0] is None else replicas * tensor.shape[0]
    # TensorFlow forgets the shape of what it gathers.
    return tf.ensure_shape(_replica_context().all_gather(tensor, axis=0), [rows, *tensor.shape[1:]])


def _replica_context():
    context = tf.distribute.get_replica_context()
    if context is None:
        raise RuntimeError(
            "Rows can be gathered only by a replica, inside `strategy.run` or a Keras model's `train_step`; this was "
            "called under `strategy.scope()` alone."
        )
    return context
