"""The log of the server: one line per event, and no event again and again."""

import logging
import time
from collections.abc import Callable
from typing import TextIO

from vl_keras.errors import printable

_PERIOD_S = 60.0  # in which a repeated event is only counted
_MOST_EVENTS = 100  # that are remembered


class LogHandler(logging.StreamHandler):
    """Writes records as lines on a stream.

    Names that come from requests, configurations and files cannot forge a line or control a terminal: control
    characters are escaped, and the lines of a traceback are indented. A warning or error that repeats is written once;
    a minute later, or when the log is closed, a line gives the number of its repetitions.

    Args:
        stream: text stream.
        clock: seconds that only grow; for tests.
    """

    def __init__(self, stream: TextIO, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__(stream)
        self._clock = clock
        self._events: dict[tuple[str, ...], _Event] = {}  # oldest first

    def emit(self, record: logging.LogRecord) -> None:
        """Writes or counts a record."""
        now = self._clock()
        while self._events and now - next(iter(self._events.values())).since >= _PERIOD_S:
            self._forget_oldest()
        if record.levelno < logging.WARNING:
            super().emit(record)
            return
        error = record.exc_info[1] if record.exc_info else None
        key = (record.name, record.levelname, record.getMessage(), repr(error))
        if key in self._events:
            self._events[key].repetitions += 1
            return
        if len(self._events) == _MOST_EVENTS:
            self._forget_oldest()
        self._events[key] = _Event(now, record)
        super().emit(record)

    def format(self, record: logging.LogRecord) -> str:
        """A record as one line, followed by its indented traceback."""
        stamp = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(record.created))
        line = f"{stamp},{record.msecs:03.0f} {record.levelname} {printable(record.getMessage())}"
        if not record.exc_info or record.exc_info[1] is None:
            return line
        formatter = self.formatter or logging.Formatter()
        trace = formatter.formatException(record.exc_info).split("\n")
        return "\n".join([line, *(f"    {printable(each)}" for each in trace)])

    def close(self) -> None:
        """Writes the counts that are still due."""
        self.acquire()
        try:
            while self._events:
                self._forget_oldest()
        finally:
            self.release()
        super().close()

    def _forget_oldest(self) -> None:
        event = self._events.pop(next(iter(self._events)))
        if event.repetitions:
            first, many = event.record, event.repetitions
            text = f"(repeated {many} {'time' if many == 1 else 'times'}) {first.getMessage()}"
            super().emit(logging.LogRecord(first.name, first.levelno, first.pathname, first.lineno, text, None, None))


class _Event:
    def __init__(self, since: float, record: logging.LogRecord) -> None:
        self.since = since
        self.record = record
        self.repetitions = 0
