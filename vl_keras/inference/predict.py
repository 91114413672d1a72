"""A trained run at work on anybody's images."""

import contextlib
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from vl_keras.data.image_files import SUFFIXES, ImageFiles, find_images
from vl_keras.errors import RunError
from vl_keras.inference.loaded_run import LoadedRun, check_explanation
from vl_keras.inference.prediction import OK, Prediction


def predict(
    run_dir: str | Path,
    images: Sequence[str | Path],
    inputs: Mapping[str, Sequence[str]] | None = None,
    explain: str | Path | None = None,
    out: str | Path | None = None,
    overrides: Sequence[str] = (),
    weights: str = "auto",
    report: Callable[[Prediction], None] | None = None,
) -> list[Prediction]:
    """Predicts for image files what the run's task predicts: captions, answers to questions, matches with texts, ….

    Images may be of any size, grey, CMYK or with alpha, JPEG, PNG, BMP, GIF (its first frame) or WebP, and are turned
    as their EXIF orientation says. One that cannot be read costs itself.

    Args:
        run_dir: folder that `train` or `ensemble` wrote.
        images: files and folders; folders are searched for images at any depth.
        inputs: texts that the task reads beside an image, by the name of the input: "question", "text", "context", ….
            Several texts of an input are each combined with every image.
        explain: PNG file that shows where the model looked for each word. For several images, each gets its own,
            with its name put before the ending: `out.png` becomes `out-dog.png`; for several texts, their numbers
            follow.
        out: JSONL file, a line a prediction: `image`, `status`, and what `Prediction.output` holds.
        overrides: `"section.key=value"` strings; see `load_run`.
        weights: `auto`, `best`, `last` or `ema`; see `load_run`.
        report: called with each `Prediction` as soon as it is made.

    Returns:
        List of `Prediction`, in the order of the files and of the texts; one for an image that cannot be read.

    Raises:
        RunError: there is no such run, no image, or an input that the run's task does not read or lacks.
    """
    paths = find_images(images)
    if not paths:
        raise RunError(
            f"There is no image in {', '.join(map(str, images)) or 'an empty list'}; folders are searched for "
            f"{', '.join(SUFFIXES)}."
        )
    check_explanation(explain)
    run = LoadedRun(run_dir, weights, overrides)
    with contextlib.ExitStack() as stack:
        lines = stack.enter_context(_open_for_writing(out)) if out is not None else None

        def on_prediction(prediction: Prediction) -> None:
            if lines is not None:
                lines.write(json.dumps(_as_dict(prediction), ensure_ascii=False) + "\n")
                lines.flush()
            if report is not None:
                report(prediction)

        return run.predict_source(ImageFiles(paths), inputs or {}, explain, on_prediction)


def format_failures(predictions: Sequence[Prediction]) -> str:
    """Which images could not be read and why, as text for a terminal; empty where all could."""
    failed = [prediction for prediction in predictions if prediction.status != OK]
    if not failed:
        return ""
    images = len({prediction.path for prediction in predictions})
    lines = [f"{len(failed)} of {images} images could not be read:"]
    return "\n".join([*lines, *(f"  {prediction.path}: {prediction.status}" for prediction in failed)])


def _open_for_writing(out):
    out = Path(out).expanduser()
    out.parent.mkdir(parents=True, exist_ok=True)
    # A file's name need not be UTF-8: its other bytes become JSON's own escapes, which give the name back when read.
    return open(out, "w", encoding="utf-8", errors="backslashreplace")


def _as_dict(prediction):
    return {"image": prediction.path, "status": prediction.status, **prediction.output}
