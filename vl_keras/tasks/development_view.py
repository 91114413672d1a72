"""A task as it would be if it were trained on its development split, for the loss there."""

from __future__ import annotations

import copy
import dataclasses

from vl_keras.config import AugmentConfig
from vl_keras.tasks.task import Task


def development_view(task: Task, batch_size: int, batches: int) -> Task:
    """A copy of a task whose `training_data` gives the first batches of the development split.

    They have the form of training batches, and are those of epoch 0: which images, texts and negatives they hold
    follows from `training.seed`. Images, texts and contexts are unchanged (no augmentation, no context left out).

    Args:
        task: whose vocabularies are made or loaded; the copy shares them, its sources and its feature caches.
        batch_size: images of a batch, at most those of the development split.
        batches: number of batches.

    Returns:
        A task of the same class; only its `training_data` is of use.
    """
    view = copy.copy(task)
    data = task.config.data
    data = dataclasses.replace(
        data, train_split=data.dev_split, batch_size=batch_size, augment=AugmentConfig(), context_dropout=0.0
    )
    view.config = dataclasses.replace(task.config, data=data)
    view.end_step = batches
    return view
