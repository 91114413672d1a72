import dataclasses
from types import SimpleNamespace

import numpy as np
import pytest
import tensorflow as tf
import tf_keras as keras

from vl_keras.config import Config, DataConfig
from vl_keras.losses.caption_loss import CaptionLoss
from vl_keras.models.training_model import TrainingModel
from vl_keras.runs.strategy import keras_settings
from vl_keras.training.batches import accumulated
from vl_keras.training.development_loss import DevelopmentLoss
from vl_keras.training.optimizer import build_optimizer

B, K, V, D = 4, 2, 11, 5


def make_model(steps=1, **settings):
    keras.utils.set_random_seed(3)
    ids = keras.Input((None, None), dtype="int32", name="caption_ids")
    tokens = keras.layers.Embedding(V, D)(ids)
    logits = keras.layers.Dense(V, dtype="float32")(tokens)
    model = TrainingModel({"caption_ids": ids}, logits, steps)
    model.compile(build_optimizer(model.trainable_variables, 0.01, **settings), loss=CaptionLoss(0.1))
    return model


def make_batch(rng, size, length):
    """Rows of random captions of random lengths; weights as the pipeline makes them."""
    ids = rng.integers(1, V, (size, K, length))
    real = np.arange(length) < rng.integers(1, length + 1, (size, K, 1))
    real[0, 0] = False  # a missing caption
    return {"caption_ids": (ids * real).astype(np.int32)}, (ids * real).astype(np.int32), weights(real)


def weights(real):
    return (real * (real.size / real.sum())).astype(np.float32)


def test_accumulated_batches_are_one_large_batch():
    rng = np.random.default_rng(0)
    batches = [make_batch(rng, B, length) for length in (6, 9, 7)]
    ids = tf.TensorSpec((B, K, None), tf.int32)
    types = ({"caption_ids": ids}, ids, tf.TensorSpec((B, K, None), tf.float32))
    dataset = tf.data.Dataset.from_generator(lambda: iter(batches), output_signature=types)
    (group,) = accumulated(dataset, 3)

    padded = [np.pad(y, [(0, 0), (0, 0), (0, 9 - y.shape[2])]) for _, y, _ in batches]
    together = np.concatenate(padded)
    large = {"caption_ids": together}, together, weights(together > 0)

    few, one = make_model(3), make_model()
    loss, gradients = few._gradients_of_group(group)
    expected_loss, expected = one._gradients(tf.nest.map_structure(tf.constant, large))
    assert abs(float(loss) - float(expected_loss)) < 1e-5
    for ours, theirs in zip(gradients, expected, strict=True):
        np.testing.assert_allclose(ours.numpy(), theirs.numpy(), atol=1e-6)


def test_the_development_loss_of_a_group_is_the_mean_of_its_batches_and_nothing_learns():
    rng = np.random.default_rng(0)
    batches = [make_batch(rng, B, 6) for _ in range(3)]
    group = tf.nest.map_structure(lambda *parts: tf.stack(parts), *batches)
    model = make_model(3)
    before = model.get_weights()
    alone = [float(model.development_loss(tf.nest.map_structure(tf.constant, batch), 1)) for batch in batches]
    assert float(model.development_loss(group, 3)) == pytest.approx(np.mean(alone), rel=1e-6)
    assert float(model.loss_tracker.count) == 0
    for value, old in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(value, old)


@pytest.mark.parametrize("labelled, replicas, expected", [((0, 1), 1, True), ((), 1, False), ((0, 1), 9, False)])
def test_batches_without_labels_do_not_count_in_the_development_loss(labelled, replicas, expected):
    rng = np.random.default_rng(0)
    batches = [make_batch(rng, B, 6) for _ in range(3)]
    batches = [(x, y, weight * (place in labelled)) for place, (x, y, weight) in enumerate(batches)]
    ids = tf.TensorSpec((B, K, None), tf.int32)
    types = ({"caption_ids": ids}, ids, tf.TensorSpec((B, K, None), tf.float32))
    task = SimpleNamespace(
        config=dataclasses.replace(Config(), data=DataConfig(batch_size=B)),
        source=lambda split: range(3 * B if replicas == 1 else replicas - 1),
        training_data=lambda *_: tf.data.Dataset.from_generator(lambda: iter(batches), output_signature=types),
    )
    model, said = make_model(), []
    strategy = tf.distribute.get_strategy() if replicas == 1 else SimpleNamespace(num_replicas_in_sync=replicas)
    loss = DevelopmentLoss(task, None, model, strategy, 1, said.append)()
    alone = [float(model.development_loss(tf.nest.map_structure(tf.constant, batches[n]), 1)) for n in labelled]
    assert loss == (pytest.approx(np.mean(alone), rel=1e-6) if expected else None)
    assert bool(said) == (replicas > 1)


def test_one_step_is_no_group():
    dataset = tf.data.Dataset.range(3)
    assert accumulated(dataset, 1) is dataset


@pytest.mark.parametrize("steps", [1, 2])
@pytest.mark.parametrize("precision", ["float32", "mixed_bfloat16", "mixed_float16"])
def test_fit_learns_in_every_precision(precision, steps):
    with keras_settings(precision, seed=1):
        model = make_model(steps, loss_scaling=precision == "mixed_float16", ema_decay=0.9, clip_norm=1.0)
    batch = make_batch(np.random.default_rng(1), B, 6)
    dataset = tf.data.Dataset.from_tensors(batch).repeat()
    history = model.fit(accumulated(dataset, steps), steps_per_epoch=15, epochs=3, verbose=0).history["loss"]
    assert history[0] > history[1] > history[2]
    scaled = isinstance(model.optimizer, keras.mixed_precision.LossScaleOptimizer)
    assert scaled == (precision == "mixed_float16")
    assert all(variable.dtype == tf.float32 for variable in model.trainable_variables)


@pytest.mark.parametrize("steps", [1, 2])
def test_a_weight_that_the_loss_does_not_need_stays(steps):
    ids = keras.Input((None, None), dtype="int32", name="caption_ids")
    used = keras.layers.Embedding(V, V)
    side = keras.layers.Dense(3, name="side")
    tokens = used(ids)
    side(tokens)
    model = TrainingModel({"caption_ids": ids}, tokens, steps)
    model.side = side
    model.compile(build_optimizer(model.trainable_variables, 0.1, weight_decay=0.5), loss=CaptionLoss())
    before = [variable.numpy() for variable in model.trainable_variables]
    dataset = tf.data.Dataset.from_tensors(make_batch(np.random.default_rng(2), B, 6)).repeat()
    model.fit(accumulated(dataset, steps), steps_per_epoch=2, verbose=0)
    moved = {v.name: not np.array_equal(v, old) for v, old in zip(model.trainable_variables, before, strict=True)}
    assert moved.pop("side/kernel:0") is False and moved.pop("side/bias:0") is False and all(moved.values())
