"""Counts and times of requests, in Prometheus text."""

import bisect
import collections
import threading

# TensorFlow Serving's own: 10 microseconds, then 1.8 times as much each, 33 of them.
_BOUNDS = tuple(10 * 1.8**power for power in range(33))
_MOST_NAMES = 1000  # requests bring names of their own; memory must not grow with them
_COUNT = ":tensorflow:serving:request_count"
_LATENCY = ":tensorflow:serving:request_latency"
_RUNTIME = ":tensorflow:serving:runtime_latency"


class Metrics:
    """What the front ends report to, and what the monitoring path shows.

    The text is written here and not by prometheus-client, which appends `_total` to a counter's name: dashboards made
    for TensorFlow Serving ask for `:tensorflow:serving:request_count`.
    """

    def __init__(self):
        self._lock = threading.Lock()
        self._counts = collections.Counter()
        self._latencies = {}

    def observe(self, model, api, entrypoint, status_code_name, seconds):
        """Counts one answered request.

        Args:
            model: name of the model, as the request gave it.
            api: `Predict`, `Classify`, `Regress`, ….
            entrypoint: `GRPC` or `REST`.
            status_code_name: of `grpc.StatusCode`, e.g. `OK`.
            seconds: it took.
        """
        micros = seconds * 1e6
        with self._lock:
            if len(self._counts) >= _MOST_NAMES and (model, status_code_name) not in self._counts:
                model = "(other)"
            self._counts[model, status_code_name] += 1
            if status_code_name == "OK":
                self._add((_LATENCY, (("model_name", model), ("API", api), ("entrypoint", entrypoint))), micros)

    def observe_run(self, model, seconds):
        """Adds the time of one execution of a graph."""
        with self._lock:
            self._add((_RUNTIME, (("model_name", model), ("API", "Predict"), ("runtime", "TF1"))), seconds * 1e6)

    def counters(self):
        """Every counter as dict of name (with its labels) -> count."""
        with self._lock:
            counts = dict(self._counts)
        totals = {"/tensorflow/serving/request_count": sum(counts.values())}
        for (model, status), count in counts.items():
            totals[f"/tensorflow/serving/request_count{{model_name={model},status={status}}}"] = count
        return totals

    def text(self):
        """Everything in Prometheus' text format, as bytes."""
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

    def _add(self, key, micros):
        entry = self._latencies.setdefault(key, [[0] * (len(_BOUNDS) + 1), 0.0])
        entry[0][bisect.bisect_left(_BOUNDS, micros)] += 1
        entry[1] += micros


def _labels(pairs):
    return "{" + ",".join(f'{name}="{_escape(value)}"' for name, value in pairs) + "}"


def _escape(text):
    return text.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")


def _number(value):
    return f"{value:.6g}"
