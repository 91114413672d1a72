"""Predictions of a trained run for image files."""

import contextlib
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TextIO

from vl_keras.data.image_files import SUFFIXES, ImageFiles, check_not_over, find_images
from vl_keras.drawing.page import check_page
from vl_keras.errors import RunError
from vl_keras.inference.loaded_run import LoadedRun, check_explanation
from vl_keras.inference.prediction import OK, Prediction
from vl_keras.inference.reports import write_prediction_report


def predict(
    run_dir: str | Path,
    images: Sequence[str | Path],
    inputs: Mapping[str, Sequence[str]] | None = None,
    explain: str | Path | None = None,
    out: str | Path | None = None,
    overrides: Sequence[str] = (),
    weights: str = "auto",
    report: Callable[[Prediction], None] | None = None,
    page: str | Path | None = None,
) -> list[Prediction]:
    """Predicts what the run's task predicts for image files: captions, answers to questions, matches with texts, ….

    Images may have any size, be grey, CMYK or with alpha (put on white), and be JPEG, PNG, BMP, GIF (its first frame)
    or still WebP; they are rotated according to their EXIF orientation. An image that cannot be read does not affect
    the others.

    Args:
        run_dir: folder that `train` or `ensemble` wrote.
        images: files and folders; folders are searched for images at any depth.
        inputs: texts that the task reads beside an image, by the name of the input: "question", "text", "context", ….
            If an input has several texts, each is combined with every image.
        explain: PNG file that shows the attention weights for each word. With several images, each image gets a file of
            its own with its name before the ending: `out.png` becomes `out-dog.png`; with several texts, a number
            follows.
        out: JSONL file to write, one prediction per line: `image`, `status`, and the items of `Prediction.output`.
        overrides: `"section.key=value"` strings; see `load_run`.
        weights: `auto`, `best`, `last` or `ema`; see `load_run`.
        report: called with each `Prediction` as soon as it is made.
        page: HTML file to write, which holds thumbnails of the images, the predictions and the explanations.

    Returns:
        List of `Prediction`, in the order of the files and then of the texts; one for an image that cannot be read.

    Raises:
        RunError: there is no such run or no image, an input is missing, or the run's task does not read a given one.
    """
    paths = find_images(images)
    if not paths:
        raise RunError(
            f"There is no image in {', '.join(map(str, images)) or 'an empty list'}; folders are searched for "
            f"{', '.join(SUFFIXES)}."
        )
    check_explanation(explain)
    if page is not None:
        check_page(page)
        check_not_over([page], paths)
    run = LoadedRun(run_dir, weights, overrides)
    with contextlib.ExitStack() as stack:
        lines = stack.enter_context(_open_for_writing(out)) if out is not None else None

        def on_prediction(prediction: Prediction) -> None:
            if lines is not None:
                lines.write(json.dumps(_as_dict(prediction), ensure_ascii=False) + "\n")
                lines.flush()
            if report is not None:
                report(prediction)

        predictions = run.predict_source(ImageFiles(paths), inputs or {}, explain, on_prediction)
    if page is not None:
        write_prediction_report(page, predictions, run_dir, run.config.task, run.which, overrides, out)
    return predictions


def format_failures(predictions: Sequence[Prediction]) -> str:
    """The images that could not be read, with reasons, as text for a terminal; empty if all were read."""
    failed = [prediction for prediction in predictions if prediction.status != OK]
    if not failed:
        return ""
    images = len({prediction.path for prediction in predictions})
    lines = [f"{len(failed)} of {images} images could not be read:"]
    return "\n".join([*lines, *(f"  {prediction.path}: {prediction.status}" for prediction in failed)])


def _open_for_writing(out: str | Path) -> TextIO:
    path = Path(out).expanduser()
    path.parent.mkdir(parents=True, exist_ok=True)
    # The name of a file need not be UTF-8: its other bytes become JSON escapes, which are read back as the same name.
    return open(path, "w", encoding="utf-8", errors="backslashreplace")


def _as_dict(prediction: Prediction) -> dict[str, Any]:
    return {"image": prediction.path, "status": prediction.status, **prediction.output}
