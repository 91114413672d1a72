"""The frame in which both commands run: one line for an error that the user can fix, a traceback for a bug."""

import contextlib
import io
import os
import select
import signal
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from types import FrameType

from vl_keras.errors import VlKerasError
from vl_keras.quiet import quiet_decoders, quiet_tensorflow


def run_command(
    program: str,
    function: Callable[[], int | None],
    failed: int = 2,
    errors: type[Exception] = VlKerasError,
) -> int:
    """Runs one command and turns errors that the user can fix into one line on standard error.

    Our own errors say what to do, and the system's errors about a file name the file. Any other error is a bug of
    ours and keeps its traceback.

    Args:
        program: name before the message, e.g. `vl-keras`.
        function: does the work and returns the exit status; None means 0.
        failed: exit status for an error that the user can fix.
        errors: root of the program's own errors, besides `VlKerasError`.

    Returns:
        The exit status: what `function` returned; `failed`; 130 after Ctrl-C and 143 after SIGTERM; 141 if standard
        output was closed, as `| head` does.

    Raises:
        Exception: whatever `function` raised that is neither a `VlKerasError` nor an `OSError` about a file.
    """
    # tensorflow-hub triggers this warning; the user cannot do anything about it.
    warnings.filterwarnings("ignore", "pkg_resources is deprecated")
    if isinstance(sys.stdout, io.TextIOWrapper):  # print file names that are not UTF-8 byte for byte
        sys.stdout.reconfigure(errors="surrogateescape")
    try:
        with _sigterm_interrupts(), quiet_decoders(), quiet_tensorflow():
            status = function() or 0
            sys.stdout.flush()
            return status
    except KeyboardInterrupt as stop:
        print(f"{program}: stopped.", file=sys.stderr)
        return stop.args[0] if stop.args else 128 + signal.SIGINT
    except (VlKerasError, errors) as error:
        print(f"{program}: {error}", file=sys.stderr)
        return failed
    except BrokenPipeError:
        if not _stdout_is_closed():
            raise
        return 128 + signal.SIGPIPE
    except OSError as error:
        if error.filename is None:
            raise
        print(f"{program}: {os.fsdecode(error.filename)}: {error.strerror}", file=sys.stderr)
        return failed


@contextlib.contextmanager
def _sigterm_interrupts() -> Iterator[None]:
    """Inside, SIGTERM raises `KeyboardInterrupt(143)`. Training replaces this once it has steps to save."""
    if threading.current_thread() is not threading.main_thread():  # only the main thread may set handlers
        yield
        return

    def stop(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt(128 + number)

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _stdout_is_closed() -> bool:
    """Whether the reader of standard output is gone; if so, Python's own flush at exit is kept silent."""
    try:
        descriptor = sys.stdout.fileno()
    except (OSError, ValueError):  # replaced by something that is no file
        return False
    poll = select.poll()
    poll.register(descriptor, select.POLLERR)
    if not poll.poll(0):
        return False
    os.dup2(os.open(os.devnull, os.O_WRONLY), descriptor)
    return True
