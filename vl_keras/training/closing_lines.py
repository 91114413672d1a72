"""What the log says at the end of a training: how good it became, whether to go on, and what comes next."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path

from vl_keras.runs.history import History
from vl_keras.tasks.phase_plan import PhasePlan
from vl_keras.tasks.task import Task


def closing_lines(task: Task, plans: Sequence[PhasePlan], history: History, run_dir: str | Path) -> list[str]:
    """The last lines of a training's log.

    Args:
        task: that was trained.
        plans: its phases, in order.
        history: of the run.
        run_dir: folder of the run.

    Returns:
        The best metric with its epoch; if the metric still rose at the end, the command that extends the run; and the
        task's `next_commands`.
    """
    run, monitor = shlex.quote(str(run_dir)), task.monitor
    lines, best = [], history.best(monitor)
    if best is not None:
        lines.append(f"Best {monitor}: {best[monitor]:.4g}, {best['phase']} epoch {best['epoch']}.")
        last = history.rows[-1]
        plan = next(plan for plan in plans if plan.name == last["phase"])
        *before, newest = [row[monitor] for row in history.rows if isinstance(row.get(monitor), float)]
        if last["epoch"] < plan.epochs:
            patience = task.config.training.patience
            lines.append(f"Stopped in epoch {last['epoch']}: none was better for {patience} (`training.patience`).")
        elif not before or newest > max(before):
            setting = task.epoch_settings[task.phase_names.index(plan.name)]
            more = plan.epochs + max(1, plan.epochs // 2)
            config = shlex.quote(str(Path(run_dir) / "config.yaml"))
            lines.append(
                f"{monitor} {'still rose' if before else 'was measured once'}. To train on:\n"
                f"  vl-keras train {config} --run-dir {run} --resume --set {setting}={more}"
            )
    return [*lines, "Next:\n" + "\n".join(f"  {command}" for command in task.next_commands(run))]
