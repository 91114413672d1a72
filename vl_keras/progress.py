"""One line of progress: a bar on a terminal, a line every half minute in a log."""

import sys
import time

from tqdm import tqdm

_LOG_SECONDS = 30


class Progress:
    """Shows how far something is; a context manager.

    Args:
        name: what is going on, e.g. "epoch 3/20".
        total: units in all.
        unit: e.g. "step".
        initial: units that were done before.
        show: false: silent.
    """

    def __init__(self, name, total, unit="step", initial=0, show=True):
        self.name, self.total, self.unit, self.done = name, total, unit, initial
        self._initial = initial
        self._started = self._said = time.monotonic()
        self._show = show
        terminal = show and sys.stderr.isatty()
        self._bar = tqdm(total=total, initial=initial, desc=name, unit=unit, leave=False) if terminal else None

    def __enter__(self):
        return self

    def __exit__(self, *error):
        if self._bar is not None:
            self._bar.close()

    @property
    def seconds(self):
        """Since it began."""
        return time.monotonic() - self._started

    def to(self, done, note=None):
        """Shows that `done` units are done; `note`, a function, gives what is written beside it, e.g. the loss."""
        if self._bar is not None:
            if note is not None and time.monotonic() - self._said > 0.5:
                self._said = time.monotonic()
                self._bar.set_postfix_str(note(), refresh=False)
            self._bar.update(done - self.done)
        self.done = done
        if self._show and self._bar is None and time.monotonic() - self._said >= _LOG_SECONDS:
            self._said = time.monotonic()
            self._say(note() if note is not None else "")

    def _say(self, note):
        rate = (self.done - self._initial) / max(self.seconds, 1e-9)
        left = (self.total - self.done) / max(rate, 1e-9)
        parts = [f"{self.unit} {self.done}/{self.total}", note, f"{rate:.3g} {self.unit}s/s", f"{left:.0f} s left"]
        print(f"{self.name}: {', '.join(part for part in parts if part)}", file=sys.stderr, flush=True)
