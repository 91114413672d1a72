"""Every error that vl_keras raises for a reason the user can act on."""

import contextlib
import re
from collections.abc import Iterator
from pathlib import Path

# Control characters, separators of lines, and characters that change the direction of what follows.
_CONTROLS = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")


class VlKerasError(Exception):
    """Root of all errors of this project; the message names what is wrong, the rule, and what to do."""


class ConfigError(VlKerasError, ValueError):
    """A setting that cannot be used; the message names its key, its value and the rule."""


class DataError(VlKerasError, ValueError):
    """Data that cannot be used: files that are missing, a split that does not exist, a line that is malformed."""


class QuarantineError(VlKerasError, RuntimeError):
    """More inputs are unusable than `data.max_bad_share` allows."""


class FeatureCacheError(VlKerasError, RuntimeError):
    """A cache that does not belong to this run, is damaged, or cannot be written."""


class EncoderError(VlKerasError, ValueError):
    """A backbone, weights file, checkpoint or module that cannot be used."""


class RetrievalError(VlKerasError, RuntimeError):
    """An index or a memory that cannot be read, written or used with this run."""


class RunError(VlKerasError, RuntimeError):
    """A run that cannot be started, continued, loaded or used as asked. Checkpoints written before stay valid."""


class TrainingStopped(SystemExit):
    """A signal asked training to stop; its state is saved and `resume` continues from it.

    `code` is also the exit status of `vl-keras train`: 128 plus the signal's number, so 143 for SIGTERM and 130 for
    Ctrl-C.
    """


@contextlib.contextmanager
def written(what: str, folder: str | Path, last_good: str | Path | None) -> Iterator[None]:
    """Inside, files are written; if that fails, `RunError` says what to do and which checkpoint is still valid.

    Args:
        what: the thing that is written, for the message.
        folder: where it is written.
        last_good: the newest valid checkpoint, if there is one.
    """
    import tensorflow as tf  # not above: who only talks to a server uses these errors without TensorFlow

    try:
        yield
    except (OSError, tf.errors.OpError) as error:
        then = (
            f"resume; the last good checkpoint is {last_good}"
            if last_good
            else "start again (resume where it has a config.yaml)"
        )
        raise RunError(
            f"{what} cannot be written to {folder}: {first_line(error)} Make room on that disk, or the folder "
            f"writable, and {then}."
        ) from error


def first_line(error: BaseException) -> str:
    """The first line of an error's message, as a sentence."""
    text = str(getattr(error, "message", None) or error).strip()
    return f"{text.splitlines()[0].rstrip('.')}." if text else f"{type(error).__name__}."


def printable(text: object, keep: str = "") -> str:
    r"""Text from elsewhere as a terminal or a log can show it, on one line.

    Args:
        text: e.g. the name of a file, whose bytes need not be UTF-8.
        keep: control characters that stay as they are, e.g. `"\n"`.

    Returns:
        The text with control characters as escapes (`\n`, `\x1b`) and `?` for bytes that are not UTF-8.
    """
    shown = str(text).encode("utf-8", "replace").decode("utf-8")
    return _CONTROLS.sub(lambda found: found[0] if found[0] in keep else ascii(found[0])[1:-1], shown)
