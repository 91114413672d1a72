"""The model that `fit` trains where the loss is of all images with all texts."""

import tensorflow as tf

from vl_keras.losses.gather_replicas import replica_loss
from vl_keras.losses.gradient_cache import cached_gradients
from vl_keras.models.dropout_generators import dropout_generators
from vl_keras.models.training_model import TrainingModel


class ContrastiveModel(TrainingModel):
    """A dual encoder whose loss is over the batch of all replicas, and over all the batches of an accumulated step.

    Batches that are accumulated become one large batch, through a gradient cache (Gao et al., 2021): its negatives are
    all of theirs, at the memory of one. The compiled loss is one of `CONTRASTIVE_LOSSES`.

    Args:
        inputs, outputs, accumulate_steps: as of `TrainingModel`; outputs of a `DualEncoder`'s training model.
    """

    def development_loss(self, data, steps):
        x, _, weight = data
        if steps == 1:
            image, text, log_scale, bias = self(x, training=False)
        else:  # one large batch, as in training

            def encode(x):
                image, text, _, _ = self(x, training=False)
                return image, text

            kinds = tuple(output.dtype for output in self.outputs[:2])
            image, text = tf.map_fn(encode, x, parallel_iterations=1, fn_output_signature=kinds)
            image, weight = tf.reshape(image, (-1, self.outputs[0].shape[-1])), _one_batch(weight)
            log_scale, bias = self.get_layer("scale")(image)
        return self._loss(image, tf.reshape(text, (-1, self.outputs[1].shape[-1])), weight, log_scale, bias)

    def _gradients(self, data):
        x, _, weight = data
        with tf.GradientTape() as tape:
            image, text, log_scale, bias = self(x, training=True)
            loss = self._loss(image, tf.reshape(text, (-1, text.shape[-1])), weight, log_scale, bias)
        pairs = self.optimizer.compute_gradients(loss, self.trainable_variables, tape)
        return loss, [None if gradient is None else tf.convert_to_tensor(gradient) for gradient, _ in pairs]

    def _gradients_of_group(self, data):
        x, _, weight = tf.nest.map_structure(_one_batch, data)
        scaled = hasattr(self.optimizer, "get_scaled_loss")

        def encode(x):
            image, text, _, _ = self(x, training=True)
            return image, tf.reshape(text, (-1, text.shape[-1]))

        def loss(image, text):
            value = self._loss(image, text, weight, *self.get_layer("scale")(image))
            return self.optimizer.get_scaled_loss(value) if scaled else value

        value, gradients = cached_gradients(
            encode, loss, x, self.accumulate_steps, self.trainable_variables, dropout_generators(self)
        )
        if scaled:
            gradients = self.optimizer.get_unscaled_gradients(gradients)
            value = self.optimizer.get_unscaled_gradients([value])[0]
        return value, gradients

    def _loss(self, image, text, weight, log_scale, bias):
        """A replica's part of the loss; vectors `(B, E)` and `(B*K, E)`, weight `(B, K)` 0 where there is no text."""
        owner = tf.repeat(tf.range(tf.shape(weight)[0]), tf.shape(weight)[1])
        there = tf.reshape(weight, (-1,)) > 0
        return replica_loss(
            self._loss_of_shown, image, tf.boolean_mask(text, there), tf.boolean_mask(owner, there), log_scale, bias
        )

    def _loss_of_shown(self, image, text, owner, log_scale, bias):
        """The loss without the images that have no text, such as unreadable ones, whose pixels are zeros."""

        def of_shown():
            shown = tf.math.unsorted_segment_sum(tf.ones_like(owner), owner, tf.shape(image)[0]) > 0
            place = tf.cumsum(tf.cast(shown, owner.dtype)) - 1
            return self.loss(tf.boolean_mask(image, shown), text, tf.gather(place, owner), log_scale, bias)

        # The mean over no text would be no number.
        return tf.cond(tf.size(owner) > 0, of_shown, lambda: 0.0)


def _one_batch(tensor):
    """`(N, B, …)` to `(N*B, …)`."""
    return tf.reshape(tensor, tf.concat([[-1], tf.shape(tensor)[2:]], axis=0))
