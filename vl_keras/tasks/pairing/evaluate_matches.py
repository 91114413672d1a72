"""Evaluates matching: scores the pairs of a split, and lists and draws the worst predictions."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from vl_keras.drawing.contact_sheet import RIGHT, WRONG, Tile, draw_contact_sheet
from vl_keras.drawing.example_sheet import source_image
from vl_keras.drawing.metric_table import describe_metrics, metric_rows
from vl_keras.errors import RunError
from vl_keras.json_files import write_json_lines
from vl_keras.metrics.bootstrap import bootstrap_intervals
from vl_keras.metrics.weighted_scores import weighted_match_scores
from vl_keras.progress import Progress
from vl_keras.tasks.described import dataset_name, describe_signature

if TYPE_CHECKING:
    from vl_keras.data.source import Source
    from vl_keras.models.pair_classifier import PairClassifier
    from vl_keras.tasks.matching import MatchingTask
    from vl_keras.tasks.pairing.match_pairs import Match
    from vl_keras.tasks.task import Evaluation

_DRAWN = 12


def evaluate_matches(task: MatchingTask, model: PairClassifier, request: Evaluation) -> dict[str, Any]:
    """Predicts for every pair of a split whether it matches, and scores the predictions.

    Writes `SPLIT_pairs.jsonl`, one pair per line, the worst predictions first; and `SPLIT.png`: the pairs that do not
    match with the highest probabilities, and the pairs that match with the lowest ones.

    Args:
        task: the task of the run.
        model: its trained model.
        request: `Evaluation`.

    Returns:
        Dict; see `Task.evaluate`. It has also `best_threshold`, the threshold with the best balanced accuracy on this
        split; the metrics are computed at 0.5.

    Raises:
        RunError: the split has no texts.
    """
    split, folder = request.split, request.folder
    source, data = task.source(split), task.config.data
    if not any(task.texts(split)):
        raise RunError(f"Split `{split}` of {dataset_name(data)} has no texts to pair its images with.")
    start = time.monotonic()
    with Progress(f"pairs of {split}", len(source), "image") as progress:
        metrics, matches = task.score_split(model, split, progress=progress.to)
    seconds = time.monotonic() - start
    threshold = metrics.pop("best_threshold")
    probability = np.array([match.probability for match in matches])
    truth = np.array([match.match for match in matches])
    intervals = bootstrap_intervals(
        [match.index for match in matches], lambda weights: weighted_match_scores(probability, truth, weights)
    )
    rows = metric_rows(metrics, intervals)
    files = {"pairs": folder / f"{split}_pairs.jsonl", "contact_sheet": folder / f"{split}.png"}
    matches.sort(key=lambda match: -abs(match.probability - match.match))
    write_json_lines(files["pairs"], map(_row, matches))
    signature = task.signature(matches, split, request.weights)
    notes = [f"a pair matches from probability 0.5 on; balanced accuracy here would be best from {threshold:.3f} on"]
    _draw(source, matches, describe_signature(signature), [*describe_metrics(rows, rows), *notes], files)
    return {
        "signature": signature,
        "signature_text": describe_signature(signature),
        "measures": rows,
        "notes": notes,
        "best_threshold": threshold,
        "files": files,
        "seconds": round(seconds, 2),
    }


def _row(match: Match) -> dict[str, Any]:
    return {
        "image": match.image_id,
        "text": match.text,
        "match": match.match,
        "probability": round(match.probability, 6),
    }


def _draw(
    source: Source, matches: Sequence[Match], title: str, notes: Sequence[str], files: Mapping[str, Path]
) -> None:
    others, own = ([match for match in matches if match.match == truth] for truth in (False, True))
    false_matches = sum(match.probability >= 0.5 for match in others)
    misses = sum(match.probability < 0.5 for match in own)
    sections = [
        (f"{false_matches} of {len(others)} pairs that do not match are predicted to match; the worst", others),
        (f"{misses} of {len(own)} pairs that match are predicted not to; the worst", own),
    ]
    tiles = [(heading, [_tile(source, match) for match in chosen[:_DRAWN]]) for heading, chosen in sections]
    draw_contact_sheet(files["contact_sheet"], title, tiles, notes)


def _tile(source: Source, match: Match) -> Tile:
    color = RIGHT if (match.probability >= 0.5) == match.match else WRONG
    lines = [(match.text, "black"), (f"probability {match.probability:.3f}", color)]
    return Tile(source_image(source, match.index), lines, name=match.image_id)
