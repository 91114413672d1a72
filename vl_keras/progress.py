"""Progress of long work: a bar on a terminal, a line every half minute in a log."""

import contextlib
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

from tqdm import tqdm

_LOG_SECONDS = 30
Item = TypeVar("Item")


class Progress:
    """Shows the progress of work; a context manager.

    Args:
        name: name of the work, e.g. "epoch 3/20".
        total: number of units; 0: it is not known.
        unit: name of a unit, e.g. "step".
        initial: units that were done before.
        show: whether to show anything.
    """

    def __init__(self, name: str, total: int, unit: str = "step", initial: int = 0, show: bool = True) -> None:
        self.name, self.total, self.unit, self.done = name, total, unit, initial
        self._initial = initial
        self._started = self._shown = time.monotonic()
        self._show = show
        terminal = show and on_terminal()
        self._bar = tqdm(total=total or None, initial=initial, desc=name, unit=unit, leave=False) if terminal else None

    def __enter__(self) -> "Progress":
        return self

    def __exit__(self, *error: object) -> None:
        if self._bar is not None:
            self._bar.close()

    @property
    def seconds(self) -> float:
        """Seconds since the start."""
        return time.monotonic() - self._started

    def to(self, done: int, note: Callable[[], str] | None = None) -> None:
        """Shows that `done` units are done.

        Args:
            done: number of units, `initial` included.
            note: function that returns a text to show with it, e.g. the loss; it is called only when it is shown.
        """
        if self._bar is not None:
            if note is not None and time.monotonic() - self._shown > 0.5:
                self._shown = time.monotonic()
                self._bar.set_postfix_str(note(), refresh=False)
            self._bar.update(done - self.done)
        self.done = done
        if self._show and self._bar is None and time.monotonic() - self._shown >= _LOG_SECONDS:
            self._shown = time.monotonic()
            self._print(note() if note is not None else "")

    def _print(self, note: str) -> None:
        count = f"{self.done}/{self.total}" if self.total else f"{self.done}"
        parts = [f"{self.unit} {count}", note]
        rate = (self.done - self._initial) / max(self.seconds, 1e-9)
        if rate > 0:
            parts.append(f"{rate:.3g} {self.unit}s/s")
            if self.total:
                parts.append(f"{duration((self.total - self.done) / rate)} left")
        say(f"{self.name}: {', '.join(part for part in parts if part)}")


def shown(items: Sequence[Item], name: str, unit: str = "batch") -> Iterator[Item]:
    """Yields the items and shows how many are done, under the name of the work."""
    with Progress(name, len(items), unit) as progress:
        for done, item in enumerate(items, 1):
            yield item
            progress.to(done)


def duration(seconds: float) -> str:
    """A length of time in words, "128 s", "14 min", "2 h 5 min"."""
    if seconds < 180:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 180 else f"{minutes // 60} h {minutes % 60} min"


def on_terminal() -> bool:
    """Whether standard error is a terminal; a service may have none at all."""
    try:
        return sys.stderr is not None and sys.stderr.isatty()
    except ValueError:  # it is closed
        return False


def say(line: str) -> None:
    """Shows a line on standard error, between bars; nobody may be there to read it, which stops no work."""
    if sys.stderr is not None:
        with contextlib.suppress(OSError, ValueError):
            tqdm.write(line, file=sys.stderr)
            sys.stderr.flush()
