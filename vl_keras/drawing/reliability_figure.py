"""Reliability diagram: accuracy against confidence."""

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import ArrayLike
from PIL import Image

_BINS = 10
_INCHES, _DPI = (3.4, 2.6), 100


def reliability_figure(confidence: ArrayLike, accuracy: ArrayLike) -> Image.Image:
    """Draws how often answers with a certain confidence are right (Niculescu-Mizil and Caruana, 2005).

    Args:
        confidence: `(N,)`, 0 to 1, N above 0.
        accuracy: `(N,)`, 0 to 1.

    Returns:
        `PIL.Image`: for each of ten bins of confidence a dot at its mean confidence and mean accuracy, which is on the
        diagonal for a calibrated model, and a bar with the share of answers in the bin.
    """
    confidence, accuracy = np.asarray(confidence, np.float64), np.asarray(accuracy, np.float64)
    places = np.clip(np.ceil(confidence * _BINS).astype(int) - 1, 0, _BINS - 1)
    counts = np.bincount(places, minlength=_BINS)
    filled = counts > 0
    means = [np.bincount(places, values, minlength=_BINS)[filled] / counts[filled] for values in (confidence, accuracy)]
    figure = Figure(figsize=_INCHES, dpi=_DPI, layout="constrained")
    axes = figure.add_subplot()
    centers = (np.arange(_BINS) + 0.5) / _BINS
    axes.bar(centers, counts / counts.sum(), 0.9 / _BINS, color="lightsteelblue", label="share of answers")
    axes.plot((0, 1), (0, 1), color="gray", linewidth=0.8)
    axes.plot(*means, "o-", color="firebrick", markersize=4, linewidth=1, label="accuracy")
    axes.set(xlim=(0, 1), ylim=(0, 1.03), xlabel="confidence")
    axes.legend(fontsize=7, loc="upper left", frameon=False)
    axes.tick_params(labelsize=7)
    axes.xaxis.label.set_fontsize(8)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return Image.fromarray(np.asarray(canvas.buffer_rgba())[..., :3].copy())
