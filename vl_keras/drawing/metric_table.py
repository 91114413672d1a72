"""Metrics with their intervals: as rows for a JSON file, and as text."""

import math
import re
from collections.abc import Iterable, Mapping

_OUT_OF_A_HUNDRED = re.compile(r"BLEU|METEOR|SPICE|mean_recall|R@|median_rank")
_THREE_DIGITS = ("CIDEr-D", "ROUGE-L")

MetricRows = dict[str, dict[str, float | None]]  # metric -> `score`, `low` and `high`


def metric_rows(metrics: Mapping[str, float], intervals: Mapping[str, tuple[float, float]]) -> MetricRows:
    """Joins scores and their intervals.

    Args:
        metrics: metric to score.
        intervals: metric to `(low, high)`; NaN, or no entry, for a metric without an interval.

    Returns:
        Dict of metric -> `score`, `low` and `high`; `low` and `high` are None without an interval.
    """
    rows: MetricRows = {}
    for name, score in metrics.items():
        low, high = (None if math.isnan(end) else end for end in intervals.get(name, (math.nan, math.nan)))
        rows[name] = {"score": score, "low": low, "high": high}
    return rows


def format_metrics(rows: MetricRows) -> list[str]:
    """Lines of a table of the rows of `metric_rows`."""
    width = max(len(name) for name in [*rows, "metric"]) + 2
    lines = [f"{'metric':<{width}}  score   95% interval"]
    for name, row in rows.items():
        line = f"{name:<{width}}{format_number(name, row['score']):>7}"
        if row["low"] is not None:
            line += f"   {format_number(name, row['low']):>6} to {format_number(name, row['high'])}"
        lines.append(line)
    return lines


def describe_metrics(rows: MetricRows, names: Iterable[str]) -> list[str]:
    """A line of text for each metric of `names` that is in `rows`, for a contact sheet."""
    lines = []
    for name in names:
        if name in rows:
            row, text = rows[name], f"{name} {format_number(name, rows[name]['score'])}"
            if row["low"] is not None:
                text += f" ({format_interval(name, row)})"
            lines.append(text)
    return lines


def format_interval(name: str, row: Mapping[str, float | None]) -> str:
    """The interval of a row of `metric_rows`; empty if it has none."""
    return "" if row["low"] is None else f"{format_number(name, row['low'])} to {format_number(name, row['high'])}"


def format_number(name: str, value: float | None) -> str:
    """A metric's value with the digits that are usual for it."""
    digits = 1 if _OUT_OF_A_HUNDRED.search(name) else 3 if name in _THREE_DIGITS else 4
    return f"{value:.{digits}f}"
