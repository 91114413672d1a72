"""How a training run ends early."""

import contextlib


class TrainingError(RuntimeError):
    """Training cannot start or go on; the message says why and what to do. Checkpoints written before stay good."""


class TrainingStopped(SystemExit):
    """A signal asked training to stop; its state is saved and `resume` goes on from it.

    `code`, also the exit status of `vl-keras train`: 128 plus the signal's number, so 143 for SIGTERM and 130 for
    Ctrl-C.
    """


@contextlib.contextmanager
def written(what, folder, last_good):
    """Inside, files are written; where that fails, `TrainingError` says what to do and what is still good."""
    import tensorflow as tf  # not above: who only asks a server has these errors without TensorFlow

    try:
        yield
    except (OSError, tf.errors.OpError) as error:
        then = (
            f"resume; the last good checkpoint is {last_good}"
            if last_good
            else "start again (resume where it has a config.yaml)"
        )
        raise TrainingError(
            f"{what} cannot be written to {folder}: {first_line(error)} Make room on that disk, or the folder "
            f"writable, and {then}."
        ) from error


def first_line(error):
    """The first line of an error's message, as a sentence."""
    text = str(getattr(error, "message", None) or error).strip()
    return f"{text.splitlines()[0].rstrip('.')}." if text else f"{type(error).__name__}."
