"""Runs a phase of training with `model.fit`, from its newest checkpoint on."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import tf_keras as keras

from vl_keras.errors import RunError
from vl_keras.progress import Progress
from vl_keras.runs.checkpoints import Checkpoints, not_finite_message
from vl_keras.training.phase import Phase
from vl_keras.training.session import Session

_LOOK_EVERY = 20  # steps between checks of the loss: each check makes the host wait for the device


def fit_phase(session: Session, phase: Phase, on_start: Callable[[], None] | None = None) -> None:
    """Trains a phase to its end; a phase that has checkpoints is resumed.

    Args:
        session: of the run.
        phase: to train.
        on_start: called once, after the first checkpoint of a new phase has been written and before its first step.

    Raises:
        RunError: the loss is not finite, or a checkpoint cannot be written or read.
        TrainingStopped: a signal stopped training; everything is saved.
    """
    checkpoints = session.checkpoints(phase)
    step = checkpoints.restore(session.log)
    if step is None:
        step = 0
        checkpoints.save(step)
        if on_start is not None:
            on_start()
    elif session.is_over(phase):  # later phases may have begun: what they wrote stays
        return
    else:
        session.log(f"Resuming {phase.name} at step {step} of {phase.epochs * phase.steps_per_epoch}.")
    session.begin(phase.first_step + step)
    epoch, done = divmod(step, phase.steps_per_epoch)
    recorded = [row["epoch"] for row in session.history.of(phase.name)]
    if done == 0 and epoch not in recorded and (epoch or phase.evaluated_first):
        # Its start; or it was stopped during the evaluation of an epoch.
        values = {metric.name: float(metric.result()) for metric in phase.model.metrics} if epoch else {}
        session.end_epoch(phase, epoch, values, 0.0)
    while not session.is_over(phase):
        epoch, done = divmod(step, phase.steps_per_epoch)
        callback = _PhaseCallback(session, phase, checkpoints, step)
        phase.model.fit(
            phase.data(step),
            initial_epoch=epoch,
            # A resumed epoch has fewer steps left than the others, so it gets a `fit` of its own.
            epochs=epoch + 1 if done else phase.epochs,
            steps_per_epoch=phase.steps_per_epoch - done,
            verbose=0,
            callbacks=[callback],
        )
        step = callback.step


class _PhaseCallback(keras.callbacks.Callback):
    """Counts steps, shows progress, saves checkpoints and stops training."""

    # Lets Keras pass logs as tensors, so that the host need not wait for the device at every step.
    _supports_tf_logs = True

    def __init__(self, session: Session, phase: Phase, checkpoints: Checkpoints, step: int) -> None:
        super().__init__()
        self.step = step
        self._session, self._phase, self._checkpoints = session, phase, checkpoints
        self._save_every = session.config.training.checkpoint_steps
        self._sums = checkpoints.metric_values()
        self._progress: Any = None  # the `Progress` of the current epoch

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        phase, done = self._phase, self.step % self._phase.steps_per_epoch
        if done:  # Keras has just reset the metrics, which hold the first part of the resumed epoch
            self._checkpoints.set_metric_values(self._sums)
        name = f"{phase.name} epoch {epoch + 1}/{phase.epochs}"
        self._progress = Progress(name, phase.steps_per_epoch, "step", done, show=self._session.run.writes)

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        self.step += 1
        steps = self._phase.steps_per_epoch
        at_end = self.step % steps == 0
        name, value = next(iter(logs.items()))
        self._progress.to(steps if at_end else self.step % steps, lambda: f"{name} {float(value):.4g}")
        if self.step % _LOOK_EVERY == 0 or at_end:
            self._check_loss(name, float(value))
        if at_end:
            return
        stopping = self._session.signal.number is not None
        if stopping or (self._save_every and self.step % self._save_every == 0):
            self._checkpoints.save(self.step)
        self._session.check_signal()

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        self._progress.__exit__()
        self._checkpoints.save(self.step)
        self._session.check_signal()
        values = {name: float(value) for name, value in logs.items()}
        self._session.end_epoch(self._phase, epoch + 1, values, self._progress.seconds)
        if self._session.is_over(self._phase):
            self.model.stop_training = True

    def _check_loss(self, name: str, value: float) -> None:
        if not math.isfinite(value):
            raise RunError(not_finite_message(f"`{name}` is {value}", self.step, self._checkpoints.newest))
        self._session.board.scalars(self._phase.first_step + self.step, {f"{self._phase.name}/{name}": value})
