"""SIGTERM and Ctrl-C become a request that training honours at the next step."""

import signal
import threading


class StopSignal:
    """A context manager; inside, `number` is the signal that has asked to stop, or None.

    A second Ctrl-C interrupts at once. Outside the main thread, where Python handles no signals, it does nothing.
    """

    def __init__(self):
        self.number = None
        self._before = {}

    def __enter__(self):
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGTERM, signal.SIGINT):
                self._before[number] = signal.signal(number, self._note)
        return self

    def __exit__(self, *error):
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _note(self, number, frame):
        if number == signal.SIGINT and self.number == signal.SIGINT:
            raise KeyboardInterrupt
        self.number = number
