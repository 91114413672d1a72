"""Training curves as a figure that opens without TensorBoard."""

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.figure import Figure

# What a panel shows beside the monitor: names in a row, each with its meaning and color.
_PANELS = (
    {"loss": ("training", "steelblue"), "dev_loss": ("development", "darkorange")},
    {"reward": ("training", "steelblue")},
)
_INCHES, _DPI = (3.6, 2.4), 100


def curves_figure(rows: Sequence[Mapping[str, Any]], monitor: str) -> Figure:
    """Draws metrics by epoch.

    Args:
        rows: rows of `History`, of all phases in their order.
        monitor: name of the dev metric that selects the best epoch.

    Returns:
        A panel for the losses on training and development images, one for the reward if a phase has one, and one for
        the monitor with a ring around its best epoch. Epochs are counted through all phases; what was measured at the
        start of a phase (its epoch 0) is drawn where the phase before it ends. A vertical line marks the start of a
        phase.
    """
    panels = [panel for panel in (*_PANELS, {monitor: ("", "steelblue")}) if any(_of(rows, name) for name in panel)]
    figure = Figure((_INCHES[0] * max(len(panels), 1), _INCHES[1]), dpi=_DPI, layout="constrained")
    phases = [row["phase"] for row in rows]
    places = _places(rows)
    starts = [i for i in range(1, len(rows)) if phases[i] != phases[i - 1]]
    for axes, panel in zip(figure.subplots(1, len(panels), squeeze=False)[0] if panels else (), panels, strict=True):
        for name, (label, color) in panel.items():
            shown = [i for i, row in enumerate(rows) if _has(row, name)]
            for number, phase in enumerate(dict.fromkeys(phases[i] for i in shown)):
                own = [i for i in shown if phases[i] == phase]
                curve = axes.plot([places[i] for i in own], [rows[i][name] for i in own], ".-", color=color)[0]
                curve.set(linewidth=1, markersize=4, label=label if number == 0 else "")
            if name == monitor and shown:
                best = max(shown, key=lambda i: rows[i][name])
                axes.plot(places[best], rows[best][name], "o", color="firebrick", fillstyle="none", markersize=8)
        for start in starts:
            axes.axvline((places[start - 1] + places[start]) / 2, color="gray", linewidth=0.6, linestyle=":")
        if monitor in panel:
            axes.set_title(f"{monitor}, best {rows[best][monitor]:.3f} in epoch {places[best]}", fontsize=9)
        else:
            axes.set_title(next(iter(panel)), fontsize=9)
        if sum(bool(_of(rows, name)) for name in panel) > 1:
            axes.legend(fontsize=7, frameon=False)
        axes.set_xlabel("epoch", fontsize=8)
        axes.set_xlim(min(places) - 0.5, max(places) + 0.5)
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.tick_params(labelsize=7)
        axes.grid(alpha=0.3)
    return figure


def _places(rows: Sequence[Mapping[str, Any]]) -> list[int]:
    """The number of epochs that were trained before each row was written."""
    places: list[int] = []
    for row in rows:
        places.append((places[-1] if places else 0) + (row["epoch"] > 0))
    return places


def _of(rows: Sequence[Mapping[str, Any]], name: str) -> list[Mapping[str, Any]]:
    return [row for row in rows if _has(row, name)]


def _has(row: Mapping[str, Any], name: str) -> bool:
    return isinstance(row.get(name), (int, float))
