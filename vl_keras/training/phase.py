"""A phase of training, ready for `fit`."""

import dataclasses
from collections.abc import Callable
from typing import Any

import tf_keras as keras


@dataclasses.dataclass
class Phase:
    """A phase of training with its own loss, optimizer and schedule; `make_phase` makes it from a `PhasePlan`.

    Attributes:
        name: names its rows in `history.csv` and its folder in `checkpoints/`.
        model: compiled `keras.Model` that shares the task's weights, with an optimizer of `build_optimizer`; the
            progress line shows its first logged value.
        data: maps a step of the phase to the data for `fit` from that step on; the order follows from the step.
        steps_per_epoch: number of steps in an epoch.
        epochs: number of epochs.
        first_step: number of steps in the phases before it, for the x axis of curves.
        evaluated_first: whether the development split is also evaluated before the first step, as epoch 0.
        development_loss: computes the loss on the development split, None if it has none; None: it is not computed.
    """

    name: str
    model: keras.Model
    data: Callable[[int], Any]
    steps_per_epoch: int
    epochs: int
    first_step: int = 0
    evaluated_first: bool = False
    development_loss: Callable[[], float | None] | None = None
