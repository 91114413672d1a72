"""Reports for people: one HTML file with the images, predictions or metrics of a run."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from PIL import Image

from vl_keras.data.open_image import open_image
from vl_keras.drawing.metric_table import format_interval, format_number
from vl_keras.drawing.page import image_uri, write_page
from vl_keras.drawing.sheet_limits import and_more
from vl_keras.errors import printable
from vl_keras.inference.prediction import OK, Prediction
from vl_keras.tasks.output_words import Shown, show_outputs

_THUMBNAIL = 480  # pixels of the longer side: sharp on a phone
_MOST_IMAGES = 500  # on one page
_MOST_ROWS = 50  # of a list on a page


class _Card(NamedTuple):
    """An image on a page of predictions."""

    name: str
    thumbnail: str
    status: str  # empty if the image was read
    predictions: Sequence[Sequence[Shown]]
    explanations: Sequence[str]


def write_prediction_report(
    path: str | Path,
    predictions: Sequence[Prediction],
    run_dir: str | Path,
    task: str,
    weights: str,
    overrides: Sequence[str] = (),
    out: str | Path | None = None,
) -> Path:
    """Writes a page with a thumbnail of each image, what was predicted for it, and its explanations.

    Args:
        path: HTML file to write.
        predictions: of image files; those of one image follow each other.
        run_dir: folder of the run.
        task: name of the run's task.
        weights: the weights in words.
        overrides: settings that differ from the run's.
        out: file that has all predictions, to name if the page cannot show all.

    Returns:
        Path of the file.
    """
    by_image: dict[str, list[Prediction]] = {}
    for prediction in predictions:
        by_image.setdefault(prediction.path, []).append(prediction)
    shown = list(by_image.items())[:_MOST_IMAGES]
    failed = sum(own[0].status != OK for own in by_image.values())
    left_out = len(by_image) - len(shown)
    return write_page(
        path,
        "predictions.html",
        title=f"Predictions of {Path(run_dir).resolve().name}",
        task=f"task {task}",
        weights=weights,
        overrides=list(overrides),
        when=_now(),
        counts=f"{_count(len(by_image), 'image')}, {_count(len(predictions) - failed, 'prediction')}"
        + (f"; {failed} could not be read" if failed else ""),
        cards=[_card(name, own) for name, own in shown],
        left_out=and_more(left_out) if left_out else "",
        out=printable(out) if out is not None else "",
    )


def write_evaluation_report(path: str | Path, result: Mapping[str, Any], run_dir: str | Path) -> Path:
    """Writes a page with the metrics of an evaluation, its notes, its sheets and the curves of the training.

    Args:
        path: HTML file to write.
        result: what `evaluate` returns.
        run_dir: folder of the run; its `curves.png` is shown if it has one.

    Returns:
        Path of the file.
    """
    pictures = {name: Path(file) for name, file in result["files"].items() if Path(file).suffix == ".png"}
    pictures["training curves"] = Path(run_dir).expanduser() / "curves.png"
    unreadable = result["unreadable"]
    return write_page(
        path,
        "evaluation.html",
        title=f"Evaluation of {Path(run_dir).resolve().name} on {result['signature'].get('split', 'a split')}",
        signature=result["signature_text"],
        task=f"task {result['task']}",
        weights=f"weights: {result['weights']}",
        overrides=result["overrides"],
        when=result["when"],
        measures=[
            {
                "name": name,
                "score": format_number(name, row["score"]),
                "interval": format_interval(name, row),
            }
            for name, row in result["measures"].items()
        ],
        notes=result["notes"],
        unreadable=unreadable[:_MOST_ROWS],
        unreadable_count=len(unreadable),
        pictures=[(name.replace("_", " "), _picture(file)) for name, file in pictures.items() if file.exists()],
        files=[(name.replace("_", " "), printable(file)) for name, file in result["files"].items()],
    )


def _card(name: str, predictions: Sequence[Prediction]) -> _Card:
    first = predictions[0]
    return _Card(
        printable(name),
        _thumbnail(name) if first.status == OK else "",
        "" if first.status == OK else first.status,
        [show_outputs(prediction.output) for prediction in predictions if prediction.status == OK],
        [_picture(Path(prediction.explanation)) for prediction in predictions if prediction.explanation],
    )


def _thumbnail(path: str) -> str:
    image = open_image(Path(path).expanduser().read_bytes(), _THUMBNAIL)[1]
    image.thumbnail((_THUMBNAIL, _THUMBNAIL))
    return image_uri(image)


def _picture(path: Path) -> str:
    with Image.open(path) as image:
        return image_uri(image)


def _count(number: int, name: str) -> str:
    return f"{number} {name}{'' if number == 1 else 's'}"


def _now() -> str:
    return time.strftime("%Y-%m-%d %H:%M")
