"""A task's description of a phase of training: its loss, its schedule and its data."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    import tensorflow as tf
    import tf_keras as keras

    from vl_keras.tasks.task import Task


class PhasePlan(NamedTuple):
    """A phase of training with its own loss, optimizer and schedule.

    Attributes:
        name: names its rows in `history.csv` and its folder in `checkpoints/`.
        epochs: number of epochs.
        steps_per_epoch: number of steps in an epoch, each of `accumulate_steps` batches.
        learning_rate: the highest learning rate, after the warm-up.
        warmup_steps: number of steps of linear warm-up; cosine decay follows.
        weight_decay: weight decay of AdamW.
        make_model: makes the model that `fit` trains, not compiled; called under the strategy's scope.
        loss: the loss to compile the model with.
        data: maps `(first_batch, num_workers, worker)` to a dataset of `(x, y, weight)`.
        accumulate_steps: number of batches whose gradients are added before the weights are updated.
        jit_compile: whether the step may be compiled with XLA.
        from_best: whether it starts from the weights of the best epoch so far; they are evaluated as its epoch 0.
    """

    name: str
    epochs: int
    steps_per_epoch: int
    learning_rate: float
    warmup_steps: int
    weight_decay: float
    make_model: Callable[[], keras.Model]
    loss: Callable[..., Any]
    data: Callable[[int, int, int], tf.data.Dataset]
    accumulate_steps: int = 1
    jit_compile: bool = True
    from_best: bool = False


def first_phase(task: Task, model: Any, log: Callable[[str], None]) -> PhasePlan:
    """The phase that every task has: its loss under AdamW with warm-up and cosine decay.

    Args:
        task: `Task`.
        model: what its `build` made.
        log: called with a line if fewer batches are accumulated or the warm-up is shortened.

    """
    training, batches = task.config.training, task.steps_per_epoch()
    group = min(training.accumulate_steps, batches)
    if group < training.accumulate_steps:
        log(f"`training.accumulate_steps` is {group}, the batches of an epoch, not {training.accumulate_steps}.")
    steps = batches // group
    total = steps * training.epochs
    warmup = min(training.warmup_steps, total // 2)
    if warmup < training.warmup_steps and total:
        log(f"Warm-up is {warmup} steps, half of this short training, not {training.warmup_steps}.")
    return PhasePlan(
        name=task.phase_names[0],
        epochs=training.epochs,
        steps_per_epoch=steps,
        learning_rate=training.learning_rate,
        warmup_steps=warmup,
        weight_decay=training.weight_decay,
        make_model=lambda: task.training_model(model, group),
        loss=task.loss(),
        data=lambda first_batch, num_workers, worker: task.training_data(model, first_batch, num_workers, worker),
        accumulate_steps=group,
    )
