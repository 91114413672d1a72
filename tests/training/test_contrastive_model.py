"""Which images and texts of a batch count in a contrastive loss, and that replicas train as one device does."""

import os
import subprocess
import sys
from pathlib import Path

import contrastive_replicas
import numpy as np
import pytest
import tensorflow as tf
import tf_keras as keras

from vl_keras.layers.similarity_scale import SimilarityScale
from vl_keras.losses.contrastive_losses import CONTRASTIVE_LOSSES
from vl_keras.models.contrastive_model import ContrastiveModel

B, K, D = 5, 3, 4


@pytest.mark.parametrize("name", CONTRASTIVE_LOSSES)
def test_an_image_that_cannot_be_read_changes_nothing_for_the_others(name):
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


def test_the_development_loss_of_a_group_is_that_of_one_large_batch():
    """As in training: the negatives of all."""
    inputs = {"image": keras.Input((D,), name="image"), "text": keras.Input((None, D), name="text")}
    given = keras.Input((D,))
    scale = keras.Model(given, SimilarityScale(0.5, -1.0, name="scale")(given), name="scale")
    model = ContrastiveModel(inputs, (inputs["image"], inputs["text"], *scale(inputs["image"])), 3)
    model.compile(loss=CONTRASTIVE_LOSSES["info_nce"])
    rng = np.random.default_rng(0)
    x = {"image": rng.normal(size=(3, B, D)), "text": rng.normal(size=(3, B, K, D))}
    x = {name: tf.constant(value, tf.float32) for name, value in x.items()}
    weight = tf.ones((3, B, K))
    large = {"image": tf.reshape(x["image"], (3 * B, D)), "text": tf.reshape(x["text"], (3 * B, K, D))}
    expected = float(model.development_loss((large, None, tf.reshape(weight, (3 * B, K))), 1))
    assert float(model.development_loss((x, weight, weight), 3)) == pytest.approx(expected, rel=1e-6)
    first = {name: value[0] for name, value in x.items()}
    assert float(model.development_loss((first, None, weight[0]), 1)) < expected


@pytest.mark.slow
def test_two_replicas_train_as_one_device(tmp_path):
    """With each loss, batch by batch and several as one, where replicas have not as many texts."""
    folders = Path(__file__).resolve().parents[2], Path(__file__).resolve().parents[1]  # of vl_keras and of replicas.py
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, folders))}
    command = [sys.executable, contrastive_replicas.__file__, "mirrored", "2", str(tmp_path / "out.npz")]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    result, expected = np.load(tmp_path / "out.npz"), contrastive_replicas.everything("none")
    assert set(result) == set(expected)
    for name, value in expected.items():
        np.testing.assert_allclose(result[name], value, atol=5e-6, err_msg=name)
