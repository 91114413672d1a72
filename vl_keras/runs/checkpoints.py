"""The whole state of a training phase on disk, so that a stopped run continues bit for bit."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import tensorflow as tf
import tf_keras as keras

from vl_keras.errors import RunError, first_line, written
from vl_keras.models.dropout_generators import dropout_generators

_KEPT = 3


class Checkpoints:
    """Saves and restores weights, moving averages, optimizer, dropout generators, metric sums and the step.

    The position in the data needs no state of its own: the order of the data follows from the step. Each save writes
    new files and then names them in the folder's `checkpoint` file, so if a save is killed or the disk is full, the
    previous checkpoint stays valid.

    Args:
        folder: made if it does not exist.
        model: the compiled `keras.Model` that is trained; its metrics exist.
        weights: dict of part -> variables: all that training changes.
        averages: dict of part -> moving averages; may be empty.
        chief: false in a worker that must take part in a save but whose files are thrown away.
    """

    def __init__(
        self,
        folder: str | Path,
        model: keras.Model,
        weights: Mapping[str, Sequence[tf.Variable]],
        averages: Mapping[str, Sequence[tf.Variable]],
        chief: bool = True,
    ) -> None:
        self.folder = Path(folder)
        self._weights = [variable for variables in weights.values() for variable in variables]
        self._metrics = model.metrics
        self._step = tf.Variable(0, dtype=tf.int64, trainable=False, name="step")
        self._scratch = None if chief else tempfile.TemporaryDirectory(prefix="vl_keras-worker-")
        self._checkpoint = tf.train.Checkpoint(
            weights=weights,
            averages=averages,
            optimizer=model.optimizer,
            generators=dropout_generators(model),
            metrics=self._metrics,
            step=self._step,
        )
        target = self.folder if self._scratch is None else self._scratch.name
        if chief:
            for rest in self.folder.glob("*_temp*"):  # of a save that was killed
                shutil.rmtree(rest, ignore_errors=True)
        self._manager = tf.train.CheckpointManager(self._checkpoint, str(target), max_to_keep=_KEPT)

    def restore(self, log: Callable[[str], None] = print) -> int | None:
        """Restores the newest checkpoint that can be read.

        Args:
            log: called with a line for each checkpoint that cannot be read.

        Returns:
            The step of the checkpoint; None if there is no checkpoint.

        Raises:
            RunError: the checkpoints belong to another model, or none can be read.
        """
        state = tf.train.get_checkpoint_state(str(self.folder))
        paths = list(state.all_model_checkpoint_paths)[::-1] if state else []
        for path in paths:
            try:
                self._checkpoint.restore(path).assert_existing_objects_matched()
            except (tf.errors.OpError, IndexError, RuntimeError) as error:  # raised by TensorFlow's two readers
                log(f"The checkpoint {path} cannot be read ({first_line(error)}); trying the one before it.")
                continue
            except (AssertionError, ValueError) as error:
                raise RunError(
                    f"The checkpoint {path} is of another model: {first_line(error)} Resume with the code and the "
                    "settings that wrote it, or start a new run directory."
                ) from error
            return int(self._step.numpy())
        if paths:
            raise RunError(f"None of the checkpoints in {self.folder} can be read; start a new run directory.")
        return None

    def save(self, step: int) -> None:
        """Writes a checkpoint.

        Raises:
            RunError: a weight is not finite, or the files cannot be written; older checkpoints stay valid.
        """
        if not self.is_finite():
            what = "Some weights are not finite numbers"
            raise RunError(not_finite_message(what, step, self.newest))
        self._step.assign(step)
        try:
            with written(f"The checkpoint of step {step}", self.folder, self.newest):
                self._manager.save(checkpoint_number=step)
        except RunError:
            for rest in self.folder.glob(f"ckpt-{step}*_temp*"):
                shutil.rmtree(rest, ignore_errors=True)
            raise

    @property
    def newest(self) -> str | None:
        """Path of the newest checkpoint; None if there is none."""
        return tf.train.latest_checkpoint(str(self.folder))

    def is_finite(self) -> bool:
        """Whether all weights are finite numbers."""
        return all(bool(tf.reduce_all(tf.math.is_finite(variable))) for variable in self._weights)

    def metric_values(self) -> list[list[np.ndarray]]:
        """The state of each of the model's metrics, for `set_metric_values`."""
        return [[np.array(value) for value in metric.get_weights()] for metric in self._metrics]

    def set_metric_values(self, values: Sequence[Sequence[np.ndarray]]) -> None:
        """Restores what `metric_values` returned."""
        for metric, own in zip(self._metrics, values, strict=True):
            metric.set_weights(own)


def not_finite_message(what: str, step: int, checkpoint: str | Path | None) -> str:
    """The error message for training that has diverged.

    Args:
        what: what is not finite, as the start of a sentence.
        step: when it was found.
        checkpoint: the newest checkpoint.
    """
    return (
        f"{what} at step {step}. The last good checkpoint is {checkpoint}. Start a new run from this one (--init-from) "
        "with a lower training.learning_rate, more training.warmup_steps, a lower training.clip_norm (0 is off), or "
        "training.precision float32 or mixed_bfloat16."
    )
