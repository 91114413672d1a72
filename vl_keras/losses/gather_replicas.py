"""A contrastive loss over the batch of all replicas: each replica uses the vectors of the others as negatives."""

from collections.abc import Callable
from typing import Any

import tensorflow as tf


def replica_loss(
    loss: Callable[..., tf.Tensor],
    image: tf.Tensor,
    text: tf.Tensor,
    owner: tf.Tensor,
    *arguments: Any,
    **settings: Any,
) -> tf.Tensor:
    """Computes this replica's part of a loss over the whole batch; a train step differentiates it as it is.

    Every replica computes the loss of all rows, divided by the number of replicas. Keras's optimizers sum the gradients
    over replicas in `apply_gradients`; the sum equals the gradients of one device with the whole batch. For the
    encoders' weights, each replica's gradient is the gradient of the whole loss through the replica's own rows
    (`gather_replicas`'s gradient sums over replicas). For a learned scale or bias, each replica's gradient is the whole
    gradient divided by the number of replicas. Without a strategy the result is `loss(image, text, owner, ...)`.

    Do not call it inside a loop over accumulated batches: replicas cannot synchronise there, and the loss of several
    small batches is not the loss of one large batch. For batches larger than memory, pass it to `cached_gradients`.

        with tf.GradientTape() as tape:
            image, text = encode(x)
            loss = replica_loss(info_nce, image, text, owner, log_scale)
        optimizer.minimize(loss, variables, tape)
        loss_tracker.update_state(loss * tf.distribute.get_strategy().num_replicas_in_sync)

    Args:
        loss: function of `(image, text, owner, *arguments, **settings)` to a scalar, a mean over the batch.
        image: `(B, D)` this replica's images. B is the same on all replicas.
        text: `(M, D)` this replica's texts.
        owner: `(M,)` int: for each text, the row of this replica's `image` that it belongs to.

    Returns:
        Scalar, this replica's part.
    """
    whole = loss(*gather_pairs(image, text, owner), *arguments, **settings)
    return whole / tf.distribute.get_strategy().num_replicas_in_sync


def gather_pairs(image: tf.Tensor, text: tf.Tensor, owner: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Gathers the images, texts and owners of all replicas; owners index the gathered images. See `replica_loss`."""
    if tf.distribute.get_strategy().num_replicas_in_sync == 1:
        return image, text, owner
    number = _replica_context().replica_id_in_sync_group
    owner = tf.cast(owner, tf.int32) + tf.cast(number, tf.int32) * tf.shape(image)[0]
    return gather_replicas(image), gather_replicas(text), gather_replicas(owner)


def gather_replicas(tensor: tf.Tensor) -> tf.Tensor:
    """Gathers the rows of all replicas, in the order of the replicas; without a strategy it returns `tensor` itself.

    The gradient is the gradient of the sum of all replicas' losses.

    Raises:
        RuntimeError: outside of `strategy.run`.
    """
    replicas = tf.distribute.get_strategy().num_replicas_in_sync
    if replicas == 1:
        return tensor
    rows = None if tensor.shape[0] is None else replicas * tensor.shape[0]
    # TensorFlow forgets the shape of what it gathers.
    return tf.ensure_shape(_replica_context().all_gather(tensor, axis=0), [rows, *tensor.shape[1:]])


def _replica_context() -> tf.distribute.ReplicaContext:
    context = tf.distribute.get_replica_context()
    if context is None:
        raise RuntimeError(
            "Only a replica can gather rows. Call this inside `strategy.run` or a Keras model's `train_step`; it was "
            "called under `strategy.scope()` alone."
        )
    return context
