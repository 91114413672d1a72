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

    def _gradients(self, data):
        x, y, weight = data
        with tf.GradientTape() as tape:
            loss = self.compute_loss(x, y, self(x, training=True), weight)
        pairs = self.optimizer.compute_gradients(loss, self.trainable_variables, tape)
        return loss, [tf.convert_to_tensor(gradient) for gradient, _ in pairs]

    def _gradients_of_group(self, data):
        def add(index, loss, gradients):
            batch_loss, batch_gradients = self._gradients(tf.nest.map_structure(lambda tensor: tensor[index], data))
            return index + 1, loss + batch_loss, [a + b for a, b in zip(gradients, batch_gradients, strict=True)]

        start = [tf.zeros(variable.shape, variable.dtype) for variable in self.trainable_variables]
        _, loss, gradients = tf.while_loop(
            lambda index, loss, gradients: index < self.accumulate_steps,
            add,
            (0, 0.0, start),
            parallel_iterations=1,
            maximum_iterations=self.accumulate_steps,
        )
        return loss / self.accumulate_steps, [gradient / self.accumulate_steps for gradient in gradients]
