"""Evaluates a trained run on a split."""

import contextlib
import json
import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from vl_keras.drawing.metric_table import format_metrics
from vl_keras.drawing.page import check_page
from vl_keras.errors import RunError
from vl_keras.inference.reports import write_evaluation_report
from vl_keras.json_files import write_json
from vl_keras.runs.load_run import load_run, weights_name
from vl_keras.runs.model_card import write_model_card
from vl_keras.runs.run_dir import RunDir
from vl_keras.tasks.task import Evaluation

_SHOWN = 10  # most rows of a list that the text report shows; the JSON file has all


def evaluate(
    run_dir: str | Path,
    split: str = "dev",
    overrides: Sequence[str] = (),
    weights: str = "auto",
    with_java: bool = False,
    out: str | Path | None = None,
    page: str | Path | None = None,
) -> dict[str, Any]:
    """Evaluates a run on a split.

    Writes to `RUN/evaluation/`, or `out`: `SPLIT.json` (metrics with 95% intervals and how they were computed), a file
    with the prediction for every example, and `SPLIT.png`, a contact sheet; see `Task.evaluate`. The next evaluation of
    the split replaces these files; `history.jsonl` keeps the metrics of every evaluation, one per line.

    Args:
        run_dir: folder that `train` or `ensemble` wrote.
        split: name of the split, e.g. dev or test.
        overrides: see `load_run`; e.g. `data.manual_dir=FOLDER` or `generation.beam_size=5`.
        weights: `auto`, `best`, `last` or `ema`; see `load_run`.
        with_java: also compute METEOR and SPICE of captions; needs Java.
        out: folder to write to instead, e.g. of a run on a disk that may only be read.
        page: HTML file to write, which holds the metrics, the sheets, the notes and the training's curves.

    Returns:
        Dict, the contents of `SPLIT.json`: `task`; `weights` in words; `overrides`; `signature`, how the metrics were
        computed, and `signature_text`; `measures`, the metrics, each with `score`, `low` and `high` (None for METEOR,
        which has no interval); `notes`, lines for a reader; `unreadable`, rows `(name, reason)`; `files`; `run`;
        `seconds` of the model's work; `when`; and what the task adds.

    Raises:
        RunError: there is no such run, or the split has nothing to score against.
        ConfigError: an override does not fit.
        DataError: the data is missing or malformed.
        QuarantineError: more images than `data.max_bad_share` cannot be read.
    """
    if page is not None:
        check_page(page)
    config, task, model, which = load_run(run_dir, weights, overrides)
    if with_java and not task.has_java_metrics:
        raise RunError(f"METEOR and SPICE (--java) score captions; `{run_dir}` is a {config.task} run.")
    folder = Path(run_dir, "evaluation") if out is None else Path(out)
    folder = folder.expanduser()
    try:
        folder.mkdir(parents=out is not None, exist_ok=True)
        writable = os.access(folder, os.W_OK)
    except OSError as error:
        raise RunError(f"`{folder}` cannot be made ({error.strerror}); --out FOLDER writes elsewhere.") from None
    if not writable:
        raise RunError(f"`{folder}` may not be written to; --out FOLDER writes elsewhere.")
    request = Evaluation(split, folder, which, weights_name(which), load_run, with_java)
    with task.quarantine_errors():
        found = task.evaluate(model, request)
    scores = folder / f"{split}.json"
    report = {} if page is None else {"report": Path(page).expanduser()}
    result = {
        "task": config.task,
        "weights": which,
        "overrides": list(overrides),
        **found,
        "unreadable": task.source(split).quarantine.rows,
        "files": {name: str(path) for name, path in {"scores": scores, **found["files"], **report}.items()},
        "run": str(run_dir),
        "when": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
    }
    write_json(scores, result)
    kept = {name: result[name] for name in ("when", "signature_text", "weights", "overrides", "measures")}
    with open(folder / "history.jsonl", "a", encoding="utf-8") as file:
        file.write(json.dumps(kept, ensure_ascii=False) + "\n")
    if out is None:
        with contextlib.suppress(OSError):  # a run whose own folder may not be written to keeps its card
            write_model_card(RunDir(run_dir))
    if page is not None:
        write_evaluation_report(page, result, run_dir)
    return result


def format_evaluation(result: dict[str, Any]) -> str:
    """The result of `evaluate` as text for a terminal."""
    lines = [result["signature_text"], f"weights: {result['weights']}", "", *format_metrics(result["measures"])]
    lines += ["", *result["notes"]] if result["notes"] else [""]
    unreadable = result["unreadable"]
    if unreadable:
        lines.append(f"not read, so not scored: {len(unreadable)}")
        lines += [f"  {name}: {reason}" for name, reason in unreadable[:_SHOWN]]
        if len(unreadable) > _SHOWN:
            lines.append(f"  and {len(unreadable) - _SHOWN} more, in {result['files']['scores']}")
    return "\n".join([*lines, "written:", *(f"  {path}" for path in result["files"].values())])
