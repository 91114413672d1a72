"""The frame in which both commands run: one line for an error that the user can fix, a traceback for a bug."""

import codecs
import contextlib
import errno
import io
import os
import select
import signal
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from types import FrameType

from vl_keras.errors import VlKerasError, printable
from vl_keras.quiet import quiet_decoders, quiet_tensorflow

_OF_DISKS = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO, errno.EFBIG)
_LINES = "\n\t"  # some messages are lists


def run_command(
    program: str,
    function: Callable[[], int | None],
    failed: int = 2,
    errors: type[Exception] = VlKerasError,
) -> int:
    """Runs one command and turns errors that the user can fix into one line on standard error.

    Our own errors say what to do, and the system's errors about a file name the file, and those about a disk the disk's
    trouble. Any other error is a bug of ours and keeps its traceback. A service may have no standard output or error.

    Args:
        program: name before the message, e.g. `vl-keras`.
        function: does the work and returns the exit status; None means 0.
        failed: exit status for an error that the user can fix.
        errors: root of the program's own errors, besides `VlKerasError`.

    Returns:
        The exit status: what `function` returned; `failed`; 130 after Ctrl-C and 143 after SIGTERM; 141 if standard
        output was closed, as `| head` does.

    Raises:
        Exception: whatever `function` raised that is neither a `VlKerasError` nor an `OSError` about a file or disk.
    """
    # tensorflow-hub triggers this warning; the user cannot do anything about it.
    warnings.filterwarnings("ignore", "pkg_resources is deprecated")
    if isinstance(sys.stdout, io.TextIOWrapper):  # print file names that are not UTF-8 byte for byte
        unicode = codecs.lookup(sys.stdout.encoding).name == "utf-8"
        sys.stdout.reconfigure(errors="surrogateescape" if unicode else "backslashreplace")
    try:
        with _standard_streams(), _sigterm_interrupts(), quiet_decoders(), quiet_tensorflow():
            status = function() or 0
            sys.stdout.flush()
            return status
    except KeyboardInterrupt as stop:
        _tell(f"{program}: stopped.")
        return stop.args[0] if stop.args else 128 + signal.SIGINT
    except (VlKerasError, errors) as error:
        _tell(f"{program}: {error}")
        return failed
    except BrokenPipeError:
        if not _stdout_is_closed():
            raise
        return 128 + signal.SIGPIPE
    except OSError as error:
        if error.filename is None and error.errno not in _OF_DISKS:
            raise
        _silence_flush_at_exit(error)
        place = "what was written" if error.filename is None else printable(os.fsdecode(error.filename))
        _tell(f"{program}: {place}: {error.strerror}")
        return failed
    except RuntimeError as error:  # of `Path.expanduser`
        if "home directory" not in str(error):
            raise
        _tell(f"{program}: `~` stands for no folder here: HOME is not set, and the user has none. Set HOME.")
        return failed


class LinePrinter:
    """Prints lines to standard output until its reader goes.

    Args:
        goes_on: the lines are also written elsewhere: a reader that goes (`| head`) does not end the work.
    """

    def __init__(self, goes_on: bool) -> None:
        self._goes_on, self._read = goes_on, True

    def __call__(self, line: str) -> None:
        if not self._read:
            return
        try:
            print(line, flush=True)
        except BrokenPipeError:
            if not self._goes_on:
                raise
            self._read = False  # the flush at the end raises it again, so the exit status still tells


def _tell(message: str) -> None:
    with contextlib.suppress(OSError, ValueError):  # nobody reads it
        print(printable(message, keep=_LINES), file=sys.stderr, flush=True)


@contextlib.contextmanager
def _standard_streams() -> Iterator[None]:
    """Inside, there are a standard output and a standard error, even where a service was started without."""
    with contextlib.ExitStack() as stack:
        if sys.stdout is None:
            stack.enter_context(contextlib.redirect_stdout(stack.enter_context(open(os.devnull, "w"))))
        if sys.stderr is None:
            stack.enter_context(contextlib.redirect_stderr(stack.enter_context(open(os.devnull, "w"))))
        yield


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


def _silence_flush_at_exit(error: OSError) -> None:
    """If standard output is what could not be written to (a full disk), Python's own flush at exit is kept silent."""
    try:
        sys.stdout.flush()
    except OSError as again:
        if again.errno == error.errno:
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
