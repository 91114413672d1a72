"""What the phases of one training run share: the model, the run directory, and the work at the end of an epoch."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import tensorflow as tf

from vl_keras.drawing.curves_figure import curves_figure
from vl_keras.errors import TrainingStopped, written
from vl_keras.json_files import write_json
from vl_keras.progress import Progress, duration
from vl_keras.runs.checkpoints import Checkpoints
from vl_keras.runs.history import History, Row
from vl_keras.runs.load_run import trained_weights
from vl_keras.runs.run_dir import RunDir
from vl_keras.runs.strategy import from_chief
from vl_keras.tasks.phase_plan import PhasePlan
from vl_keras.tasks.task import Task
from vl_keras.training.optimizer import averaged_weights, weight_averages
from vl_keras.training.phase import Phase
from vl_keras.training.stop_signal import StopSignal
from vl_keras.training.tensorboard import Board
from vl_keras.training.time_left import time_left

_FEWEST_TO_CHOOSE = 10  # images: with fewer, one image moves a metric by more than epochs differ


class Session:
    """One training run.

    Args:
        task: that is trained.
        model: what the task built.
        strategy: the `tf.distribute.Strategy` that the model was built under.
        run: an open `RunDir`.
        history: the `History` of the run.
        signal: a `StopSignal`.
    """

    def __init__(
        self,
        task: Task,
        model: Any,
        strategy: tf.distribute.Strategy,
        run: RunDir,
        history: History,
        signal: StopSignal,
    ) -> None:
        self.config, self.task, self.model, self.strategy = task.config, task, model, strategy
        self.run, self.history, self.log = run, history, run.log
        self.signal = signal
        self.plans: Sequence[PhasePlan] = ()  # all phases, once they are known
        self.board: Any = None  # the `Board`, once `begin` was called
        # What draws sample images, once it is built.
        self._draws: list[Callable[[], tuple[list, list[str]]] | None] = []
        # All workers take part in a save, because TensorFlow sums some variables over them; only the chief's is kept.
        self._scratch = None if run.writes else tempfile.TemporaryDirectory(prefix="vl_keras-worker-")
        self._best = tf.train.CheckpointManager(
            tf.train.Checkpoint(weights=task.weights(model)),
            str(run.best) if self._scratch is None else self._scratch.name,
            max_to_keep=1,
        )

    def checkpoints(self, phase: Phase) -> Checkpoints:
        """The `Checkpoints` of a phase."""
        weights = self.task.weights(self.model)
        averages = {
            part: weight_averages(phase.model.optimizer, variables)
            for part, variables in trained_weights(phase.model, weights).items()
        }
        with self.strategy.scope():
            return Checkpoints(self.run.checkpoints / phase.name, phase.model, weights, averages, chief=self.run.writes)

    def begin(self, step: int) -> None:
        """Opens the TensorBoard files, and drops what was written for steps after `step`."""
        self.history.keep(step)
        if self.board is None:
            split = self.config.data.dev_split
            count = _evaluated(self)
            if count < _FEWEST_TO_CHOOSE:
                self.log(
                    f"Split `{split}` (`data.dev_split`) gives {count} image{'s' * (count != 1)} to measure on, too "
                    f"few to choose an epoch by (under {_FEWEST_TO_CHOOSE}): the last weights are used."
                )
            self.board = Board(self.run.tensorboard if self.run.writes else None, step)

    def check_signal(self) -> None:
        """Raises `TrainingStopped` if a signal has come; the caller has saved everything before."""
        if self.signal.number is not None:
            self.log(f"Stopped by a signal; everything is saved in {self.run.path}. Resume with --resume.")
            raise TrainingStopped(128 + self.signal.number)

    def end_epoch(self, phase: Phase, epoch: int, values: Mapping[str, float], seconds: float) -> None:
        """Evaluates the development split if it is due, and records the epoch.

        Args:
            phase: of the epoch.
            epoch: its number, from 1; 0: the start of the phase.
            values: dict of name -> mean loss of the epoch.
            seconds: time that training took.
        """
        training = self.config.training
        step = phase.first_step + epoch * phase.steps_per_epoch
        rate = float(tf.convert_to_tensor(phase.model.optimizer.learning_rate))
        row: Row = {"phase": phase.name, "epoch": epoch, "step": step, **values, "learning_rate": rate}
        row["seconds"] = round(seconds, 1)
        if epoch % training.evaluate_every == 0 or epoch == phase.epochs:
            row |= self._evaluate(phase, epoch, step)
        with written(f"The row of epoch {epoch}", self.run.path, self.run.last_checkpoint(self.task.phase_names)):
            values_only = {name: value for name, value in row.items() if name not in ("phase", "epoch", "step")}
            self.board.scalars(step, values_only)
            self.board.flush()
            if self.run.writes:
                self._save_quarantine()
            self.history.append(row)
            if self.run.writes:
                curves_figure(self.history.rows, self.task.monitor).savefig(self.run.curves_file)
        shown = [f"{name} {row[name]:.4g}" for name in (*values, "dev_loss", self.task.monitor) if name in row]
        left = time_left(self.history.rows, self.plans, training.evaluate_every, self.is_over(phase))
        rest = "" if left is None else f"; about {duration(left)} left"
        self.log(f"{phase.name} epoch {epoch}/{phase.epochs}: {', '.join(shown)} ({seconds:.0f} s{rest})")

    def is_over(self, phase: Phase) -> bool:
        """Whether a phase has run all its epochs or its patience is used up, according to the history."""
        rows = self.history.of(phase.name)
        if (rows[-1]["epoch"] if rows else 0) >= phase.epochs:
            return True
        best = self.history.first_best(self.task.monitor)
        patience = self.config.training.patience
        if (
            not patience or not rows or not isinstance(rows[-1].get(self.task.monitor), float)
        ):  # decided only after an evaluation
            return False
        last_best = best["epoch"] if best is not None and best["phase"] == phase.name else 0
        return rows[-1]["epoch"] - last_best >= patience

    def load_best(self) -> None:
        """Loads the weights of the best epoch so far into the model."""
        path = tf.train.latest_checkpoint(str(self.run.best))
        self._best.checkpoint.restore(path).assert_existing_objects_matched()

    def _evaluate(self, phase: Phase, epoch: int, step: int) -> dict[str, float]:
        split, monitor = self.config.data.dev_split, self.task.monitor
        count = _evaluated(self)
        average = phase.model.optimizer.use_ema
        started = time.monotonic()
        with averaged_weights(phase.model.optimizer, phase.model.trainable_variables):
            with Progress(f"metrics of {split}", count, "image", show=self.run.writes) as progress:

                def on_progress(done: int) -> None:
                    progress.to(done)
                    self.check_signal()

                metrics, signature = self.task.epoch_metrics(
                    self.model, split, count, on_progress, "ema" if average else "raw"
                )
            metrics[monitor] = from_chief(self.strategy, metrics[monitor])
            loss = phase.development_loss() if phase.development_loss is not None else None
            self._draw(split, step)
            best = self.history.best(monitor)
            # Of weights that the metric does not tell apart, as at 0 or at its ceiling, the later were trained longer.
            is_best = count < _FEWEST_TO_CHOOSE or best is None or metrics[monitor] >= best[monitor]
            if is_best:
                with written("The best weights", self.run.best, self.run.last_checkpoint(self.task.phase_names)):
                    self._best.save(checkpoint_number=step)
        if self.run.writes:
            with written("The metrics", self.run.path, self.run.last_checkpoint(self.task.phase_names)):
                self._write_metrics(phase, epoch, step, metrics, signature, is_best)
        losses = {} if loss is None else {"dev_loss": loss}
        return {**losses, **metrics, "evaluation_seconds": round(time.monotonic() - started, 1)}

    def _draw(self, split: str, step: int) -> None:
        if not self._draws:  # in every worker: under a strategy all workers must build together
            self._draws = [self.task.sample_images(self.model, split)]
        if self.run.writes and self._draws[0] is not None:
            self.board.images(step, split, *self._draws[0]())

    def _write_metrics(
        self,
        phase: Phase,
        epoch: int,
        step: int,
        metrics: Mapping[str, float],
        signature: Mapping[str, Any],
        is_best: bool,
    ) -> None:
        kind = "moving average of the weights" if phase.model.optimizer.use_ema else "weights"
        result = {
            "which": f"{kind} at {phase.name} epoch {epoch}, {self.task.monitor} {metrics[self.task.monitor]:.4f}",
            "phase": phase.name,
            "epoch": epoch,
            "step": step,
            "measures": metrics,
            "signature": signature,
        }
        known = {"best": result} if is_best else self.run.read_metrics()
        write_json(self.run.metrics_file, {**known, "last": result})

    def _save_quarantine(self) -> None:
        rows: dict[str, str] = {}
        for split in (self.config.data.train_split, self.config.data.dev_split):
            rows |= dict(self.task.source(split).quarantine.rows)
        if rows:
            type(self.task.source(split).quarantine)(rows.items()).save(self.run.quarantine_file)


def _evaluated(session: Session) -> int:
    """Number of images that an epoch is measured on."""
    count = len(session.task.source(session.config.data.dev_split))
    return min(session.config.training.evaluate_examples or count, count)
