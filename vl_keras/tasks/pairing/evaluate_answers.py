"""Evaluates question answering: scores the answers to a split, and lists and draws the wrong ones."""

from __future__ import annotations

import collections
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from vl_keras.drawing.contact_sheet import RIGHT, WRONG, Tile, draw_contact_sheet
from vl_keras.drawing.example_sheet import source_image
from vl_keras.drawing.metric_table import describe_metrics, metric_rows
from vl_keras.drawing.reliability_figure import reliability_figure
from vl_keras.errors import RunError
from vl_keras.json_files import write_json_lines
from vl_keras.metrics.bootstrap import bootstrap_intervals
from vl_keras.metrics.weighted_scores import weighted_calibration_error, weighted_mean
from vl_keras.progress import Progress
from vl_keras.tasks.described import dataset_name, describe_signature
from vl_keras.tasks.pairing.answers import Answer, answers_of_kinds

if TYPE_CHECKING:
    from vl_keras.data.source import Source
    from vl_keras.tasks.task import Evaluation

_LISTED = 20
_DRAWN_WRONG, _DRAWN_DOUBTFUL = 24, 12


def evaluate_answers(task: Any, model: Any, request: Evaluation) -> dict[str, Any]:
    """Answers every question of a split and scores the answers.

    Writes `SPLIT_answers.jsonl`, one question per line, from the worst answer to the best and, if equal, from the most
    confident to the least; and `SPLIT.png`: the wrong answers, the right ones with the lowest confidence, and a
    reliability diagram of the confidence.

    Args:
        task: a task with `AnswerMixin`.
        model: its trained model.
        request: `Evaluation`.

    Returns:
        Dict; see `Task.evaluate`. It has also `wrong`, the number of answers that no annotator gave, and the values
        that the run fitted to its development split, e.g. `threshold`. Besides the metrics of `score_split`, `measures`
        has the accuracy of every kind of question, narrow ones too. If the run withholds answers below a threshold, it
        has `coverage`, the share of answers that are not withheld, and `accuracy answered`, the accuracy of these.

    Raises:
        RunError: the split has no questions with answers, or none of its images can be read.
    """
    split, folder = request.split, request.folder
    source, data = task.source(split), task.config.data
    if not any(question["answer"] for questions in source.questions for question in questions):
        raise RunError(f"Split `{split}` of {dataset_name(data)} has no questions with answers to score against.")
    start = time.monotonic()
    with Progress(f"answers to {split}", len(source), "image") as progress:
        metrics, answers = task.score_split(model, split, progress=progress.to)
    seconds = time.monotonic() - start
    if not answers:
        raise RunError(f"None of the images of split `{split}` of {dataset_name(data)} can be read.")
    score = _scores(answers, task.threshold)
    whole = {name: float(value) for name, (value,) in score(np.ones((1, len(answers)))).items() if not np.isnan(value)}
    rows = metric_rows({**whole, **metrics}, bootstrap_intervals([answer.index for answer in answers], score))
    answers.sort(key=lambda answer: (answer.accuracy, -answer.confidence))
    wrong = [answer for answer in answers if answer.accuracy == 0]
    files = {"answers": folder / f"{split}_answers.jsonl", "contact_sheet": folder / f"{split}.png"}
    write_json_lines(files["answers"], map(_row, answers))
    signature = task.signature(answers, split, request.weights)
    fitted, note = task.fitted()
    notes = [note]
    if task.threshold:
        notes.append(f"answers under confidence {task.threshold:.3f}, fitted to {data.dev_split}, are withheld")
    target = task.settings.target_accuracy
    reached = whole.get("accuracy answered" if task.threshold else "accuracy", 1.0)
    if reached < target:
        key = f"{next(iter(task.sections))}.target_accuracy"
        notes.append(f"`{key}` {target:g} is not reached: {reached:.4f} of the answers given are right")
    narrow = (
        answers_of_kinds(answers).keys() - answers_of_kinds(answers, 1).keys()
    )  # VQA v2 has 65 kinds: too many to draw
    shown = [name for name in rows if name.removeprefix("accuracy ") not in narrow]
    _draw(source, answers, wrong, describe_signature(signature), [*describe_metrics(rows, shown), *notes], files)
    return {
        "signature": signature,
        "signature_text": describe_signature(signature),
        "measures": rows,
        "notes": [*notes, *_wrong_lines(wrong, len(answers))],
        "wrong": len(wrong),
        **fitted,
        "files": files,
        "seconds": round(seconds, 2),
    }


def _scores(answers: Sequence[Answer], threshold: float) -> Callable[[np.ndarray], dict[str, np.ndarray]]:
    """The function that maps `(n, answers)` weights to the metrics, `(n,)` each."""
    accuracy = np.array([answer.accuracy for answer in answers])
    confidence = np.array([answer.confidence for answer in answers])
    kinds = answers_of_kinds(answers)
    given = confidence >= threshold

    def score(weights: np.ndarray) -> dict[str, np.ndarray]:
        scores = {"accuracy": weighted_mean(accuracy, weights)}
        for kind, of_kind in kinds.items():
            scores[f"accuracy {kind}"] = weighted_mean(accuracy[of_kind], weights[:, of_kind])
        scores["calibration_error"] = weighted_calibration_error(confidence, accuracy, weights)
        if answers[0].answerable is not None:
            answerable = np.array([answer.answerable for answer in answers])
            scores["in_candidates"] = weighted_mean(answerable, weights)
        if threshold:
            scores["coverage"] = weighted_mean(given, weights)
            scores["accuracy answered"] = weighted_mean(accuracy[given], weights[:, given])
        return scores

    return score


def _row(answer: Answer) -> dict[str, Any]:
    return {
        "image": answer.image_id,
        "question": answer.question,
        "kinds": answer.kinds,
        "answer": answer.answer,
        "confidence": round(answer.confidence, 6),
        "truth": answer.truth,
        "accuracy": answer.accuracy,
    }


def _wrong_lines(wrong: Sequence[Answer], count: int) -> list[str]:
    if not wrong:
        return [f"none of {count} answers is wrong"]
    shown = ", the most confident first" if len(wrong) <= _LISTED else f"; the {_LISTED} most confident ones"
    lines = [f"{len(wrong)} of {count} answers are wrong{shown}:"]
    return lines + [
        f"  {answer.image_id}: {answer.question} {answer.answer} ({answer.confidence:.3f}), truth: {_truth(answer)}"
        for answer in wrong[:_LISTED]
    ]


def _truth(answer: Answer) -> str:
    counts = collections.Counter(answer.truth).most_common()
    return ", ".join(text if len(answer.truth) == 1 else f"{text} ({count})" for text, count in counts)


def _draw(
    source: Source,
    answers: Sequence[Answer],
    wrong: Sequence[Answer],
    title: str,
    notes: Sequence[str],
    files: Mapping[str, Path],
) -> None:
    doubtful = sorted((answer for answer in answers if answer.accuracy > 0), key=lambda answer: answer.confidence)
    shown = "" if len(wrong) <= _DRAWN_WRONG else f", here {_DRAWN_WRONG}"
    sections = [
        (f"{len(wrong)} wrong answers{shown}, the most confident first", wrong[:_DRAWN_WRONG]),
        ("the least confident of the others", doubtful[:_DRAWN_DOUBTFUL]),
    ]
    tiles = [(heading, [_tile(source, answer) for answer in chosen]) for heading, chosen in sections if chosen]
    figure = reliability_figure([a.confidence for a in answers], [a.accuracy for a in answers])
    draw_contact_sheet(files["contact_sheet"], title, tiles, notes, figure)


def _tile(source: Source, answer: Answer) -> Tile:
    color = RIGHT if answer.accuracy > 0 else WRONG
    lines = [(answer.question, "black"), (f"{answer.answer}  {answer.confidence:.3f}", color)]
    if answer.accuracy < 1:
        lines.append((f"truth: {_truth(answer)}", RIGHT))
    return Tile(source_image(source, answer.index), lines, name=answer.image_id)
