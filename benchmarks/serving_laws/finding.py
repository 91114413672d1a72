"""What a law found."""

from typing import NamedTuple


class Finding(NamedTuple):
    """One figure, and whether the law holds by it.

    Attributes:
        what: the figure's name.
        figure: as it is shown.
        held: False where the law is broken; None for a figure that no law is about.
        aim: the law.
    """

    what: str
    figure: str
    held: bool | None = None
    aim: str = ""

    def __str__(self):
        verdict = "" if self.held is None else "  HELD" if self.held else "  MISSED"
        return f"  {self.what:34} {self.figure}" + (f"  (aim: {self.aim})" if self.aim else "") + verdict


def nothing(what, failures, aim="none"):
    """`Finding` of what must not happen: how often it did, and the first cases."""
    shown = "; ".join(dict.fromkeys(str(failure)[:200] for failure in failures[:50]))[:600]
    return Finding(what, f"{len(failures)}" + (f": {shown}" if failures else ""), not failures, aim)


def percentile(values, share):
    """The value below which a share of the values lies; NaN of none."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else float("nan")
