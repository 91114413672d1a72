"""A trained run at work on anybody's images."""

import contextlib
import dataclasses
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import tensorflow as tf

from vl_keras.data.image_batches import load_images
from vl_keras.data.image_files import SUFFIXES, ImageFiles, drawing_paths, find_images
from vl_keras.data.image_ops import decode_image
from vl_keras.errors import RunError
from vl_keras.inference.prediction import OK, Prediction
from vl_keras.progress import Progress
from vl_keras.runs.load_run import load_run
from vl_keras.tasks.task import TextInput

_BATCH = 16


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
    if explain is not None and Path(explain).suffix.lower() != ".png":
        raise RunError(f"An explanation is a PNG file; `{explain}` does not end in .png.")
    config, task, model, _ = load_run(run_dir, weights, overrides)
    texts = _texts(run_dir, config.task, task.inputs, inputs or {})
    files = ImageFiles(paths)
    size = min(_BATCH, len(files))
    predictor = task.predictor(model, texts, explain is not None)
    drawings = drawing_paths(explain, paths, predictor.count)
    rows = tf.data.Dataset.range(len(files)).batch(size).map(lambda index: {"index": index})
    data = dataclasses.replace(config.data, max_bad_share=1.0)
    predictions, read = [], 0
    with contextlib.ExitStack() as stack:
        lines = stack.enter_context(_open_for_writing(out)) if out is not None else None
        progress = stack.enter_context(Progress("predictions", len(files), "image", show=len(files) > size))
        for row in load_images(rows, files, data).prefetch(1):
            for prediction in _batch(row, files, predictor, drawings):
                predictions.append(prediction)
                if lines is not None:
                    lines.write(json.dumps(_as_dict(prediction), ensure_ascii=False) + "\n")
                if report is not None:
                    report(prediction)
            if lines is not None:
                lines.flush()
            read += len(row["index"])
            progress.to(read)
    return predictions


def format_failures(predictions: Sequence[Prediction]) -> str:
    """Which images could not be read and why, as text for a terminal; empty where all could."""
    failed = [prediction for prediction in predictions if prediction.status != OK]
    if not failed:
        return ""
    images = len({prediction.path for prediction in predictions})
    lines = [f"{len(failed)} of {images} images could not be read:"]
    return "\n".join([*lines, *(f"  {prediction.path}: {prediction.status}" for prediction in failed)])


def _texts(run_dir: str | Path, task: str, known: Sequence[TextInput], given: Mapping[str, Sequence[str]]) -> list[str]:
    """The texts of the input that a task reads; raises where it is missing or another one is given."""
    given = {name: [texts] if isinstance(texts, str) else list(texts) for name, texts in given.items()}
    takes = " or ".join(f"--{text.name}" for text in known) or "images alone"
    foreign = [f"--{name}" for name, texts in given.items() if texts and name not in {text.name for text in known}]
    if foreign:
        raise RunError(f"`{run_dir}` is a {task} run: it takes {takes}, not {' or '.join(foreign)}.")
    for text in known:
        texts = given.get(text.name, [])
        if text.required and not (texts and all(one.strip() for one in texts)):
            raise RunError(f"`{run_dir}` is a {task} run: give it something to read with --{text.name}.")
        if len(texts) > 1 and not text.many:
            raise RunError(f"`{run_dir}` is a {task} run: it takes one --{text.name}, not {len(texts)}.")
        if texts:
            return texts
    return []


def _batch(row, files, predictor, drawings):
    found = predictor(row["image"])
    reasons = dict(files.quarantine.rows)
    for index, readable, of_image in zip(row["index"].numpy(), row["image_ok"].numpy(), found, strict=True):
        path = files.image_ids[index]
        if not readable:
            yield Prediction(path, reasons.get(path, "cannot be read"))
            continue
        image = decode_image(tf.constant(files.read_images([index])[0])).numpy() if drawings else None
        for number, (line, output, draw) in enumerate(of_image):
            drawing = None
            if draw is not None:
                drawing = str(drawings[index * predictor.count + number])
                draw(image, Path(path).name).save(drawing)
            yield Prediction(path, OK, line, output, drawing)


def _open_for_writing(out):
    out = Path(out).expanduser()
    out.parent.mkdir(parents=True, exist_ok=True)
    # A file's name need not be UTF-8: its other bytes become JSON's own escapes, which give the name back when read.
    return open(out, "w", encoding="utf-8", errors="backslashreplace")


def _as_dict(prediction):
    return {"image": prediction.path, "status": prediction.status, **prediction.output}
