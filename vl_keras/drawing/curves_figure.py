"""Training curves as a figure that opens without TensorBoard."""

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.figure import Figure

_TRAINED = ("loss", "reward")  # metrics that a phase logs on its training images
_INCHES, _DPI = (3.6, 2.4), 100


def curves_figure(rows: Sequence[Mapping[str, Any]], monitor: str) -> Figure:
    """Draws metrics by epoch.

    Args:
        rows: rows of `History`, of all phases in their order.
        monitor: name of the dev metric that selects the best epoch.

    Returns:
        A panel for the loss, one for the reward if a phase has one, and one for the monitor with a ring around its best
        epoch. Epochs are counted through all phases; a vertical line marks the start of a phase.
    """
    names = [name for name in (*_TRAINED, monitor) if any(_has(row, name) for row in rows)]
    figure = Figure((_INCHES[0] * max(len(names), 1), _INCHES[1]), dpi=_DPI, layout="constrained")
    starts = [i for i in range(1, len(rows)) if rows[i]["phase"] != rows[i - 1]["phase"]]
    for axes, name in zip(figure.subplots(1, len(names), squeeze=False)[0] if names else (), names, strict=True):
        epochs = [i + 1 for i, row in enumerate(rows) if _has(row, name)]
        values = [row[name] for row in rows if _has(row, name)]
        axes.plot(epochs, values, ".-", color="steelblue", linewidth=1, markersize=4)
        for start in starts:
            axes.axvline(start + 0.5, color="gray", linewidth=0.6, linestyle=":")
        axes.set_title(name, fontsize=9)
        if name == monitor:
            best = max(range(len(values)), key=values.__getitem__)
            axes.plot(epochs[best], values[best], "o", color="firebrick", fillstyle="none", markersize=8)
            axes.set_title(f"{name}, best {values[best]:.3f} in epoch {epochs[best]}", fontsize=9)
        axes.set_xlabel("epoch", fontsize=8)
        axes.set_xlim(0.5, len(rows) + 0.5)
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.tick_params(labelsize=7)
        axes.grid(alpha=0.3)
    return figure


def _has(row: Mapping[str, Any], name: str) -> bool:
    return isinstance(row.get(name), (int, float))
