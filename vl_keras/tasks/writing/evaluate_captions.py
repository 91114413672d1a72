"""Evaluates captioning: writes the captions of a split, scores them, and draws some."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from vl_keras.drawing.metric_table import metric_rows
from vl_keras.errors import RunError
from vl_keras.metrics.coco_results import write_coco_results
from vl_keras.progress import Progress
from vl_keras.tasks.described import dataset_name
from vl_keras.tasks.writing.caption_sheet import draw_run_sheet
from vl_keras.tasks.writing.explain_captions import Explainer
from vl_keras.tasks.writing.pointing import play_pointing_game

if TYPE_CHECKING:
    from vl_keras.models.captioner import Captioner
    from vl_keras.tasks.captioning import CaptioningTask
    from vl_keras.tasks.task import Evaluation

_SHEET_IMAGES = 12
_POINTING_IMAGES = 200
_EXPLAINED_AT_ONCE = 16


def evaluate_captions(task: CaptioningTask, captioner: Captioner, request: Evaluation) -> dict[str, Any]:
    """Writes a caption for every image of a split and scores the captions.

    Writes `SPLIT_captions.json` (a COCO result file) and `SPLIT.png` (a contact sheet of some images).

    Args:
        task: a `CaptioningTask`.
        captioner: its trained `Captioner`.
        request: `Evaluation`; `with_java` adds METEOR and SPICE.

    Returns:
        Dict; see `Task.evaluate`. It has also `pointing_game`, if the data has objects with boxes.

    Raises:
        RunError: the split has no captions.
    """
    split, folder = request.split, request.folder
    source, data = task.source(split), task.config.data
    if not any(source.captions):
        raise RunError(f"Split `{split}` of {dataset_name(data)} has no captions to score against.")
    start = time.monotonic()
    with Progress(f"captions of {split}", len(source), "image") as progress:
        scores, captions = task.score_split(captioner, split, progress=progress.to, with_java=request.with_java)
    seconds = time.monotonic() - start
    signature = task.signature(captions, scores, split, request.weights)
    explainer = Explainer(task, captioner, min(_EXPLAINED_AT_ONCE, len(source)))
    files = {"captions": folder / f"{split}_captions.json", "contact_sheet": folder / f"{split}.png"}
    game = _pointing(task, explainer, split)
    write_coco_results(files["captions"], {caption.image_id: caption.caption for caption in captions})
    chosen = np.unique(np.linspace(0, len(captions) - 1, min(_SHEET_IMAGES, len(captions))).astype(int))
    title = f"{dataset_name(data)} {split}: {len(chosen)} of {len(captions)} images, {request.which}"
    draw_run_sheet(task, explainer, [captions[i] for i in chosen], split, files["contact_sheet"], title)
    return {
        "signature": signature.as_dict(),
        "signature_text": str(signature),
        "measures": metric_rows(scores.metrics, scores.intervals()),
        "notes": [*_notes(game), *scores.notes],
        "pointing_game": game,
        "files": files,
        "seconds": round(seconds, 2),
    }


def _notes(game: Mapping[str, Any]) -> list[str]:
    if not game:
        return []
    return [
        f"pointing game: for {game['hits']:.0%} of {game['words']} words for objects the attention peaks in the "
        f"object's box; the boxes cover {game['area']:.1%} of the image ({game['ratio']:.1f} times that)"
    ]


def _pointing(task: CaptioningTask, explainer: Explainer, split: str) -> dict[str, Any]:
    source = task.source(split)
    if not any(source.objects) or not explainer.layout.is_grid:
        return {}
    count = min(_POINTING_IMAGES, len(source))
    with Progress("pointing game", count, "image") as progress:
        game = play_pointing_game(task, explainer, split, count, progress=progress.to)
    return game if game["words"] else {}
