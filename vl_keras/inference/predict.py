"""A trained run at work on anybody's images."""

import contextlib
import dataclasses
import json
from pathlib import Path

import tensorflow as tf

from vl_keras.data.image_batches import load_images
from vl_keras.data.image_files import SUFFIXES, ImageFiles, drawing_paths, find_images
from vl_keras.data.image_ops import decode_image
from vl_keras.errors import RunError
from vl_keras.inference.prediction import OK, Prediction
from vl_keras.progress import Progress
from vl_keras.runs.load_run import load_run
from vl_keras.tasks.pairing.predict_pairs import PairPredictor
from vl_keras.tasks.writing.predict_captions import CaptionPredictor

_BATCH = 16
# By task: what predicts, and which argument it reads; of those that it cannot do without, True.
_PREDICTORS = {
    "captioning": (CaptionPredictor, "context", False),
    "vqa": (PairPredictor, "question", True),
    "free_form_vqa": (PairPredictor, "question", True),
    "matching": (PairPredictor, "text", True),
}


def predict(
    run_dir,
    images,
    context="",
    questions=(),
    texts=(),
    explain=None,
    out=None,
    overrides=(),
    weights="auto",
    report=None,
):
    """Captions image files, answers questions about them, or tells whether texts match them, as the run's task is.

    Images may be of any size, grey, CMYK or with alpha, JPEG, PNG, BMP, GIF (its first frame) or WebP, and are turned
    as their EXIF orientation says. One that cannot be read costs itself.

    Args:
        run_dir: folder that `train` or `ensemble` wrote.
        images: files and folders; folders are searched for images at any depth.
        context: of captioning: text shown to the model beside every image; the run must have a text encoder.
        questions: of question answering: strings, each asked of every image.
        texts: of matching: strings, each compared with every image.
        explain: PNG file that shows where the model looked for each word. For several images, each gets its own,
            with its name put before the ending: `out.png` becomes `out-dog.png`; for several questions or texts, their
            numbers follow.
        out: JSONL file, a line a prediction: `image`, `status`, and what `Prediction.output` holds.
        overrides: `"generation.…=value"` and `"data.…=value"` strings.
        weights: `auto`, `best`, `last` or `ema`; see `load_run`.
        report: called with each `Prediction` as soon as it is there.

    Returns:
        List of `Prediction`, in the order of the files and of the questions or texts; one for an image that cannot be
        read.

    Raises:
        RunError: there is no such run, no image, or an argument that the run's task does not read or lacks.
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
    given = {"context": context, "question": list(questions), "text": list(texts)}
    predictor_class, argument = _choose(run_dir, config.task, given)
    files = ImageFiles(paths)
    size = min(_BATCH, len(files))
    predictor = predictor_class(task, model, given[argument], explain is not None)
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


def format_failures(predictions):
    """Which images could not be read and why, as text for a terminal; empty where all could."""
    failed = [prediction for prediction in predictions if prediction.status != OK]
    if not failed:
        return ""
    images = len({prediction.path for prediction in predictions})
    lines = [f"{len(failed)} of {images} images could not be read:"]
    return "\n".join([*lines, *(f"  {prediction.path}: {prediction.status}" for prediction in failed)])


def _choose(run_dir, task, given):
    """What predicts for a task, and the argument that it reads."""
    if task not in _PREDICTORS:
        raise RunError(
            f"`{run_dir}` is a {task} run, which finds images instead: make an index of them with `vl-keras index "
            f"{run_dir} --images … --out INDEX` and ask it with `vl-keras search INDEX --text …`."
        )
    predictor, argument, needed = _PREDICTORS[task]
    foreign = [f"--{name}" for name, value in given.items() if value and name != argument]
    if foreign:
        raise RunError(f"`{run_dir}` is a {task} run: it takes --{argument}, not {' or '.join(foreign)}.")
    if needed and not (given[argument] and all(text.strip() for text in given[argument])):
        raise RunError(f"`{run_dir}` is a {task} run: give it something to read with --{argument}.")
    return predictor, argument


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
