"""The loss of a phase on the development split, to be compared with that of its training batches."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import tensorflow as tf

from vl_keras.models.training_model import TrainingModel
from vl_keras.tasks.development_view import development_view
from vl_keras.tasks.task import Task
from vl_keras.training.batches import accumulated, distributed


class DevelopmentLoss:
    """Computes the compiled loss of a model on batches of the development split, without dropout and augmentation.

    Every call reads the same batches, see `development_view`: as many whole ones as `training.evaluate_examples` images
    give. It draws no random numbers and changes no state of the model. Under a strategy each replica takes its rows of
    a batch, as in training.

    Args:
        task: of the run.
        model: what the task built.
        training_model: compiled model of the phase.
        strategy: that it was compiled under.
        accumulate_steps: number of batches of a training step; fewer are taken together where the split has fewer.
        log: called with a line if the split has too few images for the replicas.
    """

    def __init__(
        self,
        task: Task,
        model: Any,
        training_model: TrainingModel,
        strategy: tf.distribute.Strategy,
        accumulate_steps: int,
        log: Callable[[str], None],
    ) -> None:
        self._task, self._model, self._training_model, self._strategy = task, model, training_model, strategy
        self._accumulate_steps = accumulate_steps
        self._log = log
        self._data: Any = None
        self._step: Any = None  # the function of an iterator to the loss of its next batch, and the sum of its weights
        self._steps = 0

    def __call__(self) -> float | None:
        """The mean loss of the batches, with the weights that the model has now; None if no batch has a label."""
        if self._data is None:
            self._prepare()
        batches = iter(self._data) if self._steps else None
        parts = [self._step(batches) for _ in range(self._steps)]
        labelled = [float(loss) for loss, there in parts if there > 0]
        return sum(labelled) / len(labelled) if labelled else None

    def _prepare(self) -> None:
        config, strategy = self._task.config, self._strategy
        replicas = strategy.num_replicas_in_sync
        images = len(self._task.source(config.data.dev_split))
        images = min(config.training.evaluate_examples or images, images)
        size = min(config.data.batch_size, images) // replicas * replicas
        self._data = ()
        if not size:
            self._log(f"There is no dev_loss: {images} development images are fewer than {replicas} replicas.")
            return
        group = min(self._accumulate_steps, images // size)
        self._steps = images // size // group
        view = development_view(self._task, size, self._steps * group)

        def of_worker(num_workers: int, worker: int) -> tf.data.Dataset:
            return accumulated(view.training_data(self._model, 0, num_workers, worker), group)

        self._data = distributed(of_worker, strategy, size, batch_axis=int(group > 1))

        def of_replica(data: Any) -> tuple[tf.Tensor, tf.Tensor]:
            return self._training_model.development_loss(data, group), tf.reduce_sum(data[2])

        @tf.function(reduce_retracing=True)
        def step(batches: Any) -> tuple[tf.Tensor, tf.Tensor]:
            parts = strategy.run(of_replica, args=(next(batches),))
            return tuple(strategy.reduce(tf.distribute.ReduceOp.SUM, part, axis=None) for part in parts)

        self._step = step
