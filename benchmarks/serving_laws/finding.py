"""The result of a check."""

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple


class Finding(NamedTuple):
    """One value, and whether it meets its target.

    Attributes:
        what: name of the value.
        figure: the value as text.
        held: whether the target is met; None for a value without a target.
        aim: the target.
    """

    what: str
    figure: str
    held: bool | None = None
    aim: str = ""

    def __str__(self) -> str:
        verdict = "" if self.held is None else "  HELD" if self.held else "  MISSED"
        return f"  {self.what:34} {self.figure}" + (f"  (target: {self.aim})" if self.aim else "") + verdict


def nothing(what: str, failures: Sequence[Any], aim: str = "none") -> Finding:
    """`Finding` for failures that must not happen: their number and the first ones."""
    shown = "; ".join(dict.fromkeys(str(failure)[:200] for failure in failures[:50]))[:600]
    return Finding(what, f"{len(failures)}" + (f": {shown}" if failures else ""), not failures, aim)


def percentile(values: Iterable[float], share: float) -> float:
    """The value below which a share of the values lies; NaN for no values."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else float("nan")
