"""How long the rest of a training will take, judged by the epochs so far."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

from vl_keras.runs.history import Row
from vl_keras.tasks.phase_plan import PhasePlan


def time_left(rows: Sequence[Row], plans: Sequence[PhasePlan], evaluate_every: int, over: bool = False) -> float | None:
    """Estimates the time of all remaining epochs of all phases, evaluations included.

    A phase that has not trained an epoch yet is taken to read its batches as fast as the one before it. Medians are
    used, because the first epoch also builds graphs and a resumed epoch is only a part.

    Args:
        rows: rows of `History`.
        plans: all phases, in order.
        evaluate_every: epochs between evaluations.
        over: whether the phase of the last row ends with it, whatever its number of epochs.

    Returns:
        Seconds; None if nothing is left or nothing is known yet.
    """
    evaluations = [row["evaluation_seconds"] for row in rows if _is_time(row.get("evaluation_seconds"))]
    evaluation = statistics.median(evaluations) if evaluations else 0.0
    names = [plan.name for plan in plans]
    current = names.index(rows[-1]["phase"]) if rows and rows[-1]["phase"] in names else 0
    total, per_batch = 0.0, None
    for place, plan in enumerate(plans):
        own = [row for row in rows if row["phase"] == plan.name]
        batches = plan.steps_per_epoch * plan.accumulate_steps
        seconds = [row["seconds"] for row in own if _is_time(row.get("seconds"))]
        if seconds:
            per_batch = statistics.median(seconds) / batches
        done = own[-1]["epoch"] if own else 0
        if place < current or done >= plan.epochs or (over and place == current):
            continue
        if per_batch is None:
            return None
        left = range(done + 1, plan.epochs + 1)
        evaluated = sum(epoch % evaluate_every == 0 or epoch == plan.epochs for epoch in left)
        evaluated += plan.from_best and not own
        total += len(left) * per_batch * batches + evaluated * evaluation
    return total or None


def _is_time(value: object) -> bool:
    return isinstance(value, float | int) and value > 0
