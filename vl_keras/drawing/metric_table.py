"""Measures with their intervals: as they are stored, and as they are read."""

import math
import re

_OUT_OF_A_HUNDRED = re.compile(r"BLEU|METEOR|SPICE|mean_recall|R@|median_rank")
_THREE_DIGITS = ("CIDEr-D", "ROUGE-L")


def metric_rows(metrics, intervals):
    """Dict of name -> `score`, `low` and `high`; these two are None where there is no interval."""
    rows = {}
    for name, score in metrics.items():
        low, high = (None if math.isnan(end) else end for end in intervals.get(name, (math.nan, math.nan)))
        rows[name] = {"score": score, "low": low, "high": high}
    return rows


def format_metrics(rows):
    """Lines of a table of what `metric_rows` gives."""
    width = max(len(name) for name in [*rows, "measure"]) + 2
    lines = [f"{'measure':<{width}}  score   95% interval"]
    for name, row in rows.items():
        interval = "" if row["low"] is None else f"   {_number(name, row['low']):>6} to {_number(name, row['high'])}"
        lines.append(f"{name:<{width}}{_number(name, row['score']):>7}{interval}")
    return lines


def describe_metrics(rows, names):
    """Some of them as plain lines, for a sheet."""
    lines = []
    for name in names:
        if name in rows:
            row, text = rows[name], f"{name} {_number(name, rows[name]['score'])}"
            if row["low"] is not None:
                text += f" ({_number(name, row['low'])} to {_number(name, row['high'])})"
            lines.append(text)
    return lines


def _number(name, value):
    digits = 1 if _OUT_OF_A_HUNDRED.search(name) else 3 if name in _THREE_DIGITS else 4
    return f"{value:.{digits}f}"
