"""The model that `fit` trains: gradients of one or more batches, one update."""

import tensorflow as tf
import tf_keras as keras


class TrainingModel(keras.Model):
    """A functional model whose train step can add up the gradients of several batches before the weights move.

    Args:
        inputs, outputs: as of a functional `keras.Model`.
        accumulate_steps: N. From 2 on, every tensor of a step's data has a leading axis of N batches, as
            `accumulated` makes them; the step's loss and gradient are the mean over them. Only one batch's activations
            are held at a time.
    """

    def __init__(self, inputs, outputs, accumulate_steps=1, **kwargs):
        super().__init__(inputs=inputs, outputs=outputs, **kwargs)
        self.accumulate_steps = accumulate_steps
        self.loss_tracker = keras.metrics.Mean(name="loss")

    @property
    def metrics(self):
        return [self.loss_tracker]

    def train_step(self, data):
        loss, gradients = self._gradients(data) if self.accumulate_steps == 1 else self._gradients_of_group(data)
        self.optimizer.apply_gradients(zip(gradients, self.trainable_variables, strict=True))
        # Keras divides a replica's loss by their number, so that the replicas' gradients add up to the mean.
        replicas = tf.distribute.get_strategy().num_replicas_in_sync
        self.loss_tracker.update_state(loss * replicas)
        return {"loss": self.loss_tracker.result()}

    def development_loss(self, data, steps):
        """A replica's part of the loss of a step of held-out data, without dropout; no state changes.

        The parts of all replicas add up to the loss.

        Args:
            data: `(x, y, weight)` in the form of a training step of `steps` accumulated batches.
            steps: number of batches; from 2 on every tensor has a leading axis of them.

        Returns:
            Scalar float32.
        """
        if steps == 1:
            return self._loss_without_dropout(data)
        losses = tf.map_fn(self._loss_without_dropout, data, parallel_iterations=1, fn_output_signature=tf.float32)
        return tf.reduce_mean(losses)

    def _loss_without_dropout(self, data):
        x, y, weight = data
        return tf.cast(self.compute_loss(x, y, self(x, training=False), weight), tf.float32)

    def _gradients(self, data):
        x, y, weight = data
        with tf.GradientTape() as tape:
            loss = self.compute_loss(x, y, self(x, training=True), weight)
        pairs = self.optimizer.compute_gradients(loss, self.trainable_variables, tape)
        return loss, [None if gradient is None else tf.convert_to_tensor(gradient) for gradient, _ in pairs]

    def _gradients_of_group(self, data):
        unused = set()  # variables that the loss does not depend on, known once the loop's body is traced

        def add(index, loss, sums):
            batch_loss, gradients = self._gradients(tf.nest.map_structure(lambda tensor: tensor[index], data))
            unused.update(place for place, gradient in enumerate(gradients) if gradient is None)
            added = [total if g is None else total + g for total, g in zip(sums, gradients, strict=True)]
            return index + 1, loss + batch_loss, added

        _, loss, sums = tf.while_loop(
            lambda index, loss, sums: index < self.accumulate_steps,
            add,
            (0, 0.0, [tf.zeros(variable.shape, variable.dtype) for variable in self.trainable_variables]),
            parallel_iterations=1,
            maximum_iterations=self.accumulate_steps,
        )
        means = [None if place in unused else total / self.accumulate_steps for place, total in enumerate(sums)]
        return loss / self.accumulate_steps, means
