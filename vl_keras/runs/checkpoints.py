"""A phase's whole state on disk: saved so that a killed run goes on bit for bit."""

import shutil
import tempfile
from pathlib import Path

import numpy as np
import tensorflow as tf

from vl_keras.errors import RunError, first_line, written
from vl_keras.models.dropout_generators import dropout_generators

_KEPT = 3


class Checkpoints:
    """Saves and restores weights, moving averages, optimizer, dropout generators, metric sums and the step.

    The data's position is the step, since its order follows from that. Each save is a new set of files, named in the
    folder's `checkpoint` file once it is whole, so a kill or a full disk during a save leaves the one before intact.

    Args:
        folder: made where absent.
        model: the compiled keras.Model that is trained; its metrics exist.
        weights: dict of part -> variables, all that training changes.
        averages: dict of part -> moving averages, may be empty.
        chief: false in those of several workers that must take part in a save but whose files nobody reads.
    """

    def __init__(self, folder, model, weights, averages, chief=True):
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
        target = self.folder if chief else self._scratch.name
        if chief:
            for rest in self.folder.glob("*_temp*"):  # of a save that was killed
                shutil.rmtree(rest, ignore_errors=True)
        self._manager = tf.train.CheckpointManager(self._checkpoint, str(target), max_to_keep=_KEPT)

    def restore(self, log=print):
        """Takes up the newest checkpoint that can be read; returns its step, or None where there is no checkpoint.

        Raises:
            RunError: the checkpoints belong to another model, or none can be read.
        """
        state = tf.train.get_checkpoint_state(str(self.folder))
        paths = list(state.all_model_checkpoint_paths)[::-1] if state else []
        for path in paths:
            try:
                self._checkpoint.restore(path).assert_existing_objects_matched()
            except (tf.errors.OpError, IndexError, RuntimeError) as error:  # as TensorFlow's two readers put it
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

    def save(self, step):
        """Writes a checkpoint.

        Raises:
            RunError: a weight is no finite number, or the files cannot be written; older checkpoints stay.
        """
        if not self.is_finite():
            what = "The weights hold values that are no finite numbers"
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
    def newest(self):
        """Path of the newest checkpoint, or None."""
        return tf.train.latest_checkpoint(str(self.folder))

    def is_finite(self):
        return all(bool(tf.reduce_all(tf.math.is_finite(variable))) for variable in self._weights)

    def metric_values(self):
        """The state of the model's metrics, for `set_metric_values`."""
        return [[np.array(value) for value in metric.get_weights()] for metric in self._metrics]

    def set_metric_values(self, values):
        for metric, own in zip(self._metrics, values, strict=True):
            metric.set_weights(own)


def not_finite_message(what, step, checkpoint):
    return (
        f"{what} at step {step}. The last good checkpoint is {checkpoint}. Start a new run from this one (--init-from) "
        "with a lower training.learning_rate, more training.warmup_steps, a lower training.clip_norm (0 is off), or "
        "training.precision float32 or mixed_bfloat16."
    )
