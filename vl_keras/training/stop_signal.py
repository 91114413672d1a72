"""Turns the signals that ask a program to end into a request to stop, which training follows at the next step."""

from __future__ import annotations

import contextlib
import signal
import threading
from types import FrameType
from typing import Any

from vl_keras.runs.native_calls import end_process, on_signal

# Of a scheduler or a user; of a terminal that closes; of batch systems, which announce the end of the time with USR1.
_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1)
_STUCK_SECONDS = 60.0  # in one native call, e.g. one that waits for a worker that is gone


class StopSignal:
    """A context manager; inside, `number` is the number of the signal that came, or None.

    A second Ctrl-C interrupts at once. If the main thread does not come back from native code within a minute after a
    signal, the process ends; the newest checkpoint stays. A signal that was ignored when the program started (`nohup`)
    stays ignored. Outside the main thread, where Python cannot handle signals, it does nothing.
    """

    def __init__(self) -> None:
        self.number: int | None = None
        self._before: dict[int, Any] = {}
        self._open = contextlib.ExitStack()
        self._timer: threading.Timer | None = None

    def __enter__(self) -> StopSignal:
        if threading.current_thread() is threading.main_thread():
            for number in _SIGNALS:
                if signal.getsignal(number) is not signal.SIG_IGN:
                    self._before[number] = signal.signal(number, self._note)
            self._open.enter_context(on_signal(self._came))
        return self

    def __exit__(self, *error: object) -> None:
        self._open.close()
        if self._timer is not None:
            self._timer.cancel()
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _came(self, number: int) -> None:
        """Called in another thread, even while the main thread waits in native code."""
        if number in self._before and self._timer is None:
            self._timer = threading.Timer(_STUCK_SECONDS, self._check_stuck, (number,))
            self._timer.daemon = True
            self._timer.start()

    def _check_stuck(self, number: int) -> None:
        if self.number is None:  # the handler below has not run
            end_process(
                f"vl_keras: stopped by a signal; a call of TensorFlow did not come back in {_STUCK_SECONDS:.0f} s. "
                "The newest checkpoint stays; resume with --resume.",
                128 + number,
            )

    def _note(self, number: int, frame: FrameType | None) -> None:
        if number == signal.SIGINT and self.number == signal.SIGINT:
            raise KeyboardInterrupt
        self.number = number
