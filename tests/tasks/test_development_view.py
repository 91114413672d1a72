"""Batches of the development split in the form of training batches, from images, from caches and with negatives."""

import numpy as np
import pytest
import tensorflow as tf
import tf_keras as keras

from vl_keras.tasks import TASKS
from vl_keras.tasks.development_view import development_view
from vl_keras.training.development_loss import DevelopmentLoss

pytestmark = pytest.mark.slow  # builds models of five tasks, half a minute; test_contract.py computes the loss again


def loss(config):
    """The loss of fresh weights, the same for every call."""
    task = TASKS[config.task](config)
    keras.utils.set_random_seed(3)
    model = task.build()
    training_model = task.training_model(model, 1)
    training_model.compile(loss=task.loss())
    return DevelopmentLoss(task, model, training_model, tf.distribute.get_strategy(), 1, print)()


def test_images_and_their_cached_features_have_the_same_loss(small_config):
    """A frozen encoder's, with views of training images that are augmented."""
    frozen = ("image_encoder.trainable_from=", "data.augment.flip=true", "data.augment.crop_min_area=0.5")
    cached = ("image_encoder.cache_features=true", "image_encoder.cache_views=2")
    assert loss(small_config(*frozen, *cached)) == pytest.approx(loss(small_config(*frozen)), rel=2e-3)


def test_texts_and_their_cached_states_have_the_same_loss(task_config, hub_bert):
    config = task_config("vqa", *hub_bert)
    cached = task_config("vqa", *hub_bert, "text_encoder.cache_features=true")
    assert loss(cached) == pytest.approx(loss(config), rel=2e-3)


def test_negatives_are_images_that_look_alike_in_their_own_split(task_config):
    config = task_config("matching", "matching.negatives=nearest", "matching.neighbours=3")
    task = TASKS["matching"](config)
    model = task.build()
    first, dev, again = (
        next(iter(view.training_data(model)))[0]["text_ids"] for view in (task, development_view(task, 6, 1), task)
    )
    np.testing.assert_array_equal(first, again)
    assert len(dev) == 6
    assert {split: len(own) for split, own in task._neighbours.items()} == {
        split: len(task.source(split)) for split in ("train", "dev")
    }
