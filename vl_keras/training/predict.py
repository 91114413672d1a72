"""Captions for anybody's pictures."""

import contextlib
import dataclasses
import json
from pathlib import Path
from typing import NamedTuple

import tensorflow as tf

from vl_keras.data.image_batches import load_images
from vl_keras.data.image_ops import decode_image
from vl_keras.tasks.caption_writer import CaptionWriter
from vl_keras.training.attention_drawing import draw_explanation
from vl_keras.training.errors import TrainingError
from vl_keras.training.explain import Explainer
from vl_keras.training.picture_files import SUFFIXES, PictureFiles, drawing_paths, find_pictures
from vl_keras.training.progress import Progress
from vl_keras.training.run_dir import load_run

_BATCH = 16
OK = "ok"


class Prediction(NamedTuple):
    """What became of one picture.

    Attributes:
        path: of its file.
        status: `ok`, or why it could not be read.
        caption: the best one; empty where it could not be read.
        score: its length-normalised log-probability.
        captions: all `generation.num_captions`, best first.
        explanation: the PNG drawn for it, if any.
    """

    path: str
    status: str
    caption: str = ""
    score: float | None = None
    captions: tuple = ()
    explanation: str | None = None


def predict(run_dir, images, context="", explain=None, out=None, overrides=(), weights="auto", report=None):
    """Captions picture files; one that cannot be read costs itself.

    Pictures may be of any size, grey, CMYK or with alpha, JPEG, PNG, BMP, GIF (its first frame) or WebP, and are turned
    as their EXIF orientation says.

    Args:
        run_dir: folder that `train` wrote.
        images: files and folders; folders are searched for pictures at any depth.
        context: text shown to the model beside every picture; the run must have a text encoder.
        explain: PNG file that shows where the model looked for each word. For several pictures, each gets its own,
            with its name put before the ending: `out.png` becomes `out-dog.png`.
        out: JSONL file, a line a picture: `image`, `status`, `caption`, `score`, `captions`.
        overrides: `"generation.…=value"` and `"data.…=value"` strings.
        weights: `auto`, `best`, `last` or `ema`; see `load_run`.
        report: called with each `Prediction` as soon as it is there.

    Returns:
        List of `Prediction`, in the order of the files.

    Raises:
        TrainingError: there is no such run, no picture, or no text encoder for a context.
    """
    paths = find_pictures(images)
    if not paths:
        raise TrainingError(
            f"There is no picture in {', '.join(map(str, images)) or 'an empty list'}; folders are searched for "
            f"{', '.join(SUFFIXES)}."
        )
    if explain is not None and Path(explain).suffix.lower() != ".png":
        raise TrainingError(f"An explanation is a PNG file; `{explain}` does not end in .png.")
    config, task, captioner, _ = load_run(run_dir, weights, overrides)
    if context and task.text_encoder is None:
        raise TrainingError(f"The run in `{run_dir}` has no text encoder, so it cannot read a context.")
    data = dataclasses.replace(config.data, max_bad_share=1.0)
    files = PictureFiles(paths)
    size = min(_BATCH, len(files))
    drawings = drawing_paths(explain, paths)
    write = CaptionWriter(captioner, task.tokenizer, task.generation_settings(), size)
    if explain is not None:
        write = Explainer(task, captioner, size)
    rows = tf.data.Dataset.range(len(files)).batch(size).map(lambda index: {"index": index})
    predictions = []
    with contextlib.ExitStack() as stack:
        lines = stack.enter_context(_open_for_writing(out)) if out is not None else None
        progress = stack.enter_context(Progress("captions", len(files), "picture", show=len(files) > size))
        for row in load_images(rows, files, data).prefetch(1):
            for prediction in _batch(row, files, task, write, context, drawings):
                predictions.append(prediction)
                if lines is not None:
                    lines.write(json.dumps(_as_dict(prediction), ensure_ascii=False) + "\n")
                if report is not None:
                    report(prediction)
            if lines is not None:
                lines.flush()
            progress.to(len(predictions))
    return predictions


def format_failures(predictions):
    """Which pictures could not be read and why, as text for a terminal; empty where all could."""
    failed = [prediction for prediction in predictions if prediction.status != OK]
    if not failed:
        return ""
    lines = [f"{len(failed)} of {len(predictions)} pictures could not be read:"]
    return "\n".join([*lines, *(f"  {prediction.path}: {prediction.status}" for prediction in failed)])


def _batch(row, files, task, write, context, drawings):
    inputs = {"image": row["image"]}
    if task.text_encoder is not None:
        inputs |= task.text_encoder.preprocess(tf.fill([len(row["image"])], context))
    if drawings:
        explanations, (captions, written) = write(inputs, in_depth=True)
    else:
        captions, written = write(inputs)
    reasons = dict(files.quarantine.rows)
    for place, (index, readable) in enumerate(zip(row["index"].numpy(), row["image_ok"].numpy(), strict=True)):
        path = files.image_ids[index]
        if not readable:
            yield Prediction(path, reasons.get(path, "cannot be read"))
            continue
        texts = captions[place]
        drawing = None
        if drawings:
            drawing = str(drawings[index])
            picture = decode_image(tf.constant(files.read_images([index])[0])).numpy()
            draw_explanation(explanations[place], picture, drawing, Path(path).name)
        yield Prediction(path, OK, texts[0], float(written.scores[place, 0]), tuple(texts), drawing)


def _open_for_writing(out):
    out = Path(out).expanduser()
    out.parent.mkdir(parents=True, exist_ok=True)
    return open(out, "w", encoding="utf-8")


def _as_dict(prediction):
    if prediction.status != OK:
        return {"image": prediction.path, "status": prediction.status}
    row = {"image": prediction.path, "status": OK, "caption": prediction.caption, "score": prediction.score}
    return {**row, "captions": list(prediction.captions)}
