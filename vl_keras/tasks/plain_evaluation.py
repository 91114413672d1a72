"""The evaluation of a task that defines no evaluation of its own: its metrics on a whole split."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from vl_keras.drawing.metric_table import metric_rows
from vl_keras.progress import Progress
from vl_keras.tasks.described import describe_signature

if TYPE_CHECKING:
    from vl_keras.tasks.task import Evaluation, Task


def plain_evaluation(task: Task, model: Any, request: Evaluation) -> dict[str, Any]:
    """Returns `Task.epoch_metrics` of a whole split, without intervals and files; see `Task.evaluate`."""
    split, start = request.split, time.monotonic()
    with Progress(f"metrics of {split}", len(task.source(split)), "image") as progress:
        metrics, signature = task.epoch_metrics(model, split, progress=progress.to, weights=request.weights)
    return {
        "signature": signature,
        "signature_text": describe_signature(signature),
        "measures": metric_rows(metrics, {}),
        "notes": [],
        "files": {},
        "seconds": round(time.monotonic() - start, 2),
    }
