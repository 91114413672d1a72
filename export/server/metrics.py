"""Counts and latencies of requests, in the text format of Prometheus."""

import bisect
import collections
import threading
from collections.abc import Iterable
from typing import Any

# The buckets of TensorFlow Serving: 10 microseconds, then a factor of 1.8 each.
_BOUNDS = tuple(10 * 1.8**power for power in range(33))
_MOST_NAMES = 1000  # clients choose the names, so their number and length need a bound
_LONGEST_NAME = 200
_OTHER = "(other)"
_COUNT = ":tensorflow:serving:request_count"
_LATENCY = ":tensorflow:serving:request_latency"
_RUNTIME = ":tensorflow:serving:runtime_latency"


_Labels = tuple[tuple[str, str], ...]


class Metrics:
    """Collects metrics from the front ends; the monitoring path shows them.

    We do not use prometheus-client because it appends `_total` to the names of counters: dashboards for TensorFlow
    Serving read `:tensorflow:serving:request_count`.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts: collections.Counter[tuple[str, str]] = collections.Counter()
        self._latencies: dict[tuple[str, _Labels], list[Any]] = {}  # -> [counts by bound, sum]

    def observe(self, model: str, api: str, entrypoint: str, status_code_name: str, seconds: float) -> None:
        """Counts one finished request.

        Args:
            model: name of the model in the request.
            api: `Predict`, `Classify`, `Regress`, ….
            entrypoint: `GRPC` or `REST`.
            status_code_name: name of the `grpc.StatusCode`, e.g. `OK`.
            seconds: latency.
        """
        micros = seconds * 1e6
        if len(model) > _LONGEST_NAME:
            model = _OTHER
        with self._lock:
            if len(self._counts) >= _MOST_NAMES and (model, status_code_name) not in self._counts:
                model = _OTHER
            self._counts[model, status_code_name] += 1
            if status_code_name == "OK":
                self._add((_LATENCY, (("model_name", model), ("API", api), ("entrypoint", entrypoint))), micros)

    def observe_run(self, model: str, seconds: float) -> None:
        """Records the duration of one run of a graph."""
        with self._lock:
            self._add((_RUNTIME, (("model_name", model), ("API", "Predict"), ("runtime", "TF1"))), seconds * 1e6)

    def counters(self) -> dict[str, int]:
        """All counters: dict of name with labels -> count."""
        with self._lock:
            counts = dict(self._counts)
        totals = {"/tensorflow/serving/request_count": sum(counts.values())}
        for (model, status), count in counts.items():
            totals[f"/tensorflow/serving/request_count{{model_name={model},status={status}}}"] = count
        return totals

    def text(self) -> bytes:
        """All metrics in the text format of Prometheus."""
        with self._lock:
            counts = dict(self._counts)
            latencies = {key: (list(buckets), *rest) for key, (buckets, *rest) in self._latencies.items()}
        lines = [f"# TYPE {_COUNT} counter"]
        for (model, status), count in sorted(counts.items()):
            lines.append(f"{_COUNT}{_labels((('model_name', model), ('status', status)))} {count}")
        for name in (_LATENCY, _RUNTIME):
            lines.append(f"# TYPE {name} histogram")
            for (family, labels), (buckets, total) in sorted(latencies.items()):
                if family != name:
                    continue
                below = 0
                for bound, number in zip([*map(_number, _BOUNDS), "+Inf"], buckets, strict=True):
                    below += number
                    lines.append(f"{name}_bucket{_labels((*labels, ('le', bound)))} {below}")
                lines.append(f"{name}_sum{_labels(labels)} {_number(total)}")
                lines.append(f"{name}_count{_labels(labels)} {below}")
        return ("\n".join(lines) + "\n").encode()

    def _add(self, key: tuple[str, _Labels], micros: float) -> None:
        entry = self._latencies.setdefault(key, [[0] * (len(_BOUNDS) + 1), 0.0])
        entry[0][bisect.bisect_left(_BOUNDS, micros)] += 1
        entry[1] += micros


def _labels(pairs: Iterable[tuple[str, str]]) -> str:
    return "{" + ",".join(f'{name}="{_escape(value)}"' for name, value in pairs) + "}"


def _escape(text: str) -> str:
    return text.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")


def _number(value: float) -> str:
    return f"{value:.6g}"
