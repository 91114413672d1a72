"""Which pictures and texts of a batch count in a contrastive loss."""

import numpy as np
import pytest
import tensorflow as tf
import tf_keras as keras

from vl_keras.losses.contrastive_losses import CONTRASTIVE_LOSSES
from vl_keras.training.contrastive_model import ContrastiveModel

B, K, D = 5, 3, 4


@pytest.mark.parametrize("name", CONTRASTIVE_LOSSES)
def test_a_picture_that_cannot_be_read_changes_nothing_for_the_others(name):
    vector = keras.Input((D,))
    model = ContrastiveModel(vector, vector)
    model.compile(loss=CONTRASTIVE_LOSSES[name])
    rng = np.random.default_rng(0)
    image, text = rng.normal(size=(B, D)).astype(np.float32), rng.normal(size=(B, K, D)).astype(np.float32)
    weight = np.ones((B, K), np.float32)
    weight[3, 1] = 0.0  # a missing text
    weight[1] = 0.0
    kept = np.arange(B) != 1

    @tf.function
    def loss_and_gradient(image, text, weight):
        with tf.GradientTape() as tape:
            tape.watch(image)
            loss = model._loss(image, tf.reshape(text, (-1, D)), weight, 0.5, -1.0)
        return loss, tape.gradient(loss, image)

    loss, gradient = loss_and_gradient(*map(tf.constant, (image, text, weight)))
    expected = loss_and_gradient(*(tf.constant(value[kept]) for value in (image, text, weight)))
    assert float(loss) == pytest.approx(float(expected[0]), rel=1e-6)
    np.testing.assert_allclose(tf.convert_to_tensor(gradient).numpy()[kept], expected[1], atol=1e-6)
    assert not tf.convert_to_tensor(gradient).numpy()[1].any()
    nothing, gradient = loss_and_gradient(*map(tf.constant, (image, text, np.zeros_like(weight))))
    assert float(nothing) == 0 and not tf.convert_to_tensor(gradient).numpy().any()
    other = image.copy()
    other[2] = -other[2]  # one that can be read does change it
    assert float(loss_and_gradient(*map(tf.constant, (other, text, weight)))[0]) != pytest.approx(float(loss))
