"""Measures a trained run on a split."""

import time
from pathlib import Path

import numpy as np

from vl_keras.metrics.coco_results import write_coco_results
from vl_keras.tasks.described import dataset_name
from vl_keras.training.contact_sheet import draw_run_sheet
from vl_keras.training.errors import TrainingError
from vl_keras.training.explain import Explainer
from vl_keras.training.pointing import play_pointing_game
from vl_keras.training.progress import Progress
from vl_keras.training.run_dir import load_run, write_json

_SHEET_PICTURES = 12
_POINTING_PICTURES = 200
_EXPLAINED_AT_ONCE = 16


def evaluate(run_dir, split="dev", overrides=(), weights="auto", with_java=False):
    """Captions every picture of a split and scores the captions.

    Writes to `RUN/evaluation/`: `SPLIT.json` (scores with 95% intervals and what they were measured with),
    `SPLIT_captions.json` (a COCO result file) and `SPLIT.png` (a contact sheet of some pictures).

    Args:
        run_dir: folder that `train` wrote.
        split: of the data, e.g. dev or test.
        overrides: `"data.…=value"` and `"generation.…=value"` strings.
        weights: `auto`, `best`, `last` or `ema`; see `load_run`.
        with_java: also METEOR and SPICE, where Java is there.

    Returns:
        Dict, the contents of `SPLIT.json`: `signature` (of `ScoreSignature`) and `signature_text`; `weights` in words;
        `measures`, each with `score`, `low` and `high`; `notes`; `unreadable`, rows `(name, reason)`; `pointing_game`
        where the data has objects with boxes; `files`; `run`; `seconds`, of writing the captions; `when`.

    Raises:
        TrainingError: there is no such run, or nothing in the split to score against.
        ConfigError, DataError, QuarantineError: as the settings and the data are.
    """
    config, task, captioner, which = load_run(run_dir, weights, overrides)
    source = task.source(split)
    if not any(source.captions):
        raise TrainingError(f"Split `{split}` of {dataset_name(config.data)} has no captions to score against.")
    start = time.monotonic()
    with Progress(f"captions of {split}", len(source), "picture") as progress:
        scores, captions = task.measure(captioner, split, progress=progress.to, with_java=with_java)
    seconds = time.monotonic() - start
    folder = Path(run_dir).expanduser() / "evaluation"
    folder.mkdir(exist_ok=True)
    files = {name: folder / f"{split}{end}" for name, end in _FILE_ENDS.items()}
    signature = task.signature(captions, scores, split, _short(which))
    intervals = scores.intervals()
    explainer = Explainer(task, captioner, min(_EXPLAINED_AT_ONCE, len(source)))
    result = {
        "signature": signature.as_dict(),
        "signature_text": str(signature),
        "weights": which,
        "measures": {
            name: {"score": score, "low": intervals[name][0], "high": intervals[name][1]}
            for name, score in scores.measures.items()
        },
        "notes": scores.notes,
        "unreadable": source.quarantine.rows,
        "pointing_game": _pointing(task, explainer, split),
        "files": {name: str(path) for name, path in files.items()},
        "run": str(run_dir),
        "seconds": round(seconds, 2),
        "when": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
    }
    write_coco_results(files["captions"], {caption.image_id: caption.caption for caption in captions})
    chosen = np.unique(np.linspace(0, len(captions) - 1, min(_SHEET_PICTURES, len(captions))).astype(int))
    title = f"{dataset_name(config.data)} {split}: {len(chosen)} of {len(captions)} pictures, {which}"
    draw_run_sheet(task, explainer, [captions[i] for i in chosen], split, files["contact_sheet"], title)
    write_json(files["scores"], result)
    return result


_FILE_ENDS = {"scores": ".json", "captions": "_captions.json", "contact_sheet": ".png"}


def format_evaluation(result):
    """The result of `evaluate` as text for a terminal."""
    lines = [result["signature_text"], f"weights: {result['weights']}", "", "measure    score   95% interval"]
    for name, row in result["measures"].items():
        digits = 3 if name in ("CIDEr-D", "ROUGE-L") else 1
        low, high = f"{row['low']:.{digits}f}", f"{row['high']:.{digits}f}"
        lines.append(f"{name:<9}{row['score']:>7.{digits}f}   {low:>6} to {high}")
    game = result["pointing_game"]
    if game:
        lines.append(
            f"pointing game: for {game['hits']:.0%} of {game['words']} words for objects the attention peaks in the "
            f"object's box; the boxes cover {game['area']:.1%} of the picture ({game['ratio']:.1f} times that)"
        )
    lines += ["", *result["notes"]] if result["notes"] else [""]
    if result["unreadable"]:
        lines.append(f"unreadable pictures, not scored: {len(result['unreadable'])}")
        lines += [f"  {name}: {reason}" for name, reason in result["unreadable"][:10]]
    return "\n".join([*lines, "written:", *(f"  {path}" for path in result["files"].values())])


def _pointing(task, explainer, split):
    source = task.source(split)
    if not any(source.objects):
        return {}
    count = min(_POINTING_PICTURES, len(source))
    with Progress("pointing game", count, "picture") as progress:
        game = play_pointing_game(task, explainer, split, count, progress=progress.to)
    return game if game["words"] else {}


def _short(which):
    if which.startswith("moving"):
        return "ema"
    return which.replace(":", " ").split()[0]
