"""Answers signals while the main thread waits in native code, where Python's own handlers do not run."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator

from vl_keras.progress import say


@contextlib.contextmanager
def on_signal(answer: Callable[[int], None]) -> Iterator[None]:
    """Inside, a thread calls `answer` with the number of each signal that Python handles, as soon as it comes.

    The main thread's handlers run as well, once it is back in Python. Outside the main thread nothing is done.

    Args:
        answer: called in another thread.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    reading, writing = os.pipe()
    os.set_blocking(writing, False)

    def read() -> None:
        while numbers := os.read(reading, 64):
            for number in numbers:
                if number:
                    answer(number)

    thread = threading.Thread(target=read, name="signals", daemon=True)
    thread.start()
    before = signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
    try:
        yield
    finally:
        signal.set_wakeup_fd(before)
        os.close(writing)  # ends the thread's reading
        thread.join()
        os.close(reading)


def end_process(message: str, status: int) -> None:
    """Says why and ends the process at once, which a native call cannot hinder; nothing is saved."""
    say(message)
    with contextlib.suppress(OSError, ValueError, AttributeError):
        sys.stdout.flush()
    os._exit(status)
