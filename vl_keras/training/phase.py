"""A stretch of training with a loss, an optimizer and a schedule of its own."""

import dataclasses


@dataclasses.dataclass
class Phase:
    """A stretch of training with a loss, an optimizer and a schedule of its own.

    Attributes:
        name: of its rows in `history.csv` and its folder in `checkpoints/`.
        model: compiled keras.Model that shares the task's weights, its optimizer built by `build_optimizer` and
            its metrics made; the first logged value is shown in the progress line.
        data: step of the phase to what `fit` takes, from that step on; the order follows from the step.
        steps_per_epoch: steps.
        epochs: epochs.
        first_step: steps of the phases before it, for the axis of curves.
    """

    name: str
    model: object
    data: object
    steps_per_epoch: int
    epochs: int
    first_step: int = 0
