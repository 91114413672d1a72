"""A trained run in memory, for predictions."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from PIL import Image

from vl_keras.data.image_batches import load_images
from vl_keras.data.image_files import ImageFiles, drawing_paths, find_images
from vl_keras.data.open_image import decode_pixels, encode_pil
from vl_keras.errors import RunError
from vl_keras.inference.image_contents import ImageContents
from vl_keras.inference.prediction import OK, Prediction
from vl_keras.progress import Progress
from vl_keras.runs.load_run import load_run
from vl_keras.tasks.task import TextInput

_BATCH = 16


class LoadedRun:
    """A trained run in memory, for any number of predictions; `vl_keras.load` makes one.

    Args:
        run_dir: folder that `train` or `ensemble` wrote.
        weights: `auto`, `best`, `last` or `ema`; see `load_run`.
        overrides: `"section.key=value"` strings; see `load_run`.

    Attributes:
        config: the run's `Config`.
        task: the run's `Task`.
        model: the models that the task built, with the trained weights.
        which: the weights in words.

    Raises:
        RunError: there is no such run, or it cannot be loaded.
    """

    def __init__(self, run_dir: str | Path, weights: str = "auto", overrides: Sequence[str] = ()) -> None:
        self.run_dir = run_dir
        self.config, self.task, self.model, self.which = load_run(run_dir, weights, overrides)
        self._predictor: tuple[tuple, Any] | None = None

    def predict(
        self, images: Any, explain: str | Path | None = None, **inputs: str | Sequence[str]
    ) -> list[Prediction]:
        """Predicts what the run's task predicts for images: captions, answers to questions, matches with texts, ….

        Args:
            images: one image or a list of images, each a file or folder, a `PIL.Image`, a `(height, width, 3)` uint8
                array, or the bytes of an image file.
            explain: PNG file that shows the model's attention weights; see `vl_keras.inference.predict.predict`.
            **inputs: texts that the task reads beside an image, e.g. `question="what colour is it?"`; if there are
                several, each is combined with every image.

        Returns:
            List of `Prediction`, in the order of the images and then of the texts. If an image cannot be read, its
            `status` is not `ok`; the other images are not affected.

        Raises:
            RunError: an input is missing, or the task does not read a given one.
        """
        images = list(images) if isinstance(images, (list, tuple)) else [images]
        if all(isinstance(image, (str, Path)) for image in images):
            source: ImageFiles | ImageContents = ImageFiles(find_images(images))
        else:
            source = ImageContents([_content(image) for image in images])
        if not len(source):
            raise RunError(f"There is no image in {', '.join(map(str, images)) or 'an empty list'}.")
        return self.predict_source(source, inputs, explain)

    def predict_source(
        self,
        source: ImageFiles | ImageContents,
        inputs: Mapping[str, str | Sequence[str]],
        explain: str | Path | None = None,
        on_prediction: Callable[[Prediction], None] | None = None,
    ) -> list[Prediction]:
        """`predict` for a source of images.

        Args:
            source: `ImageFiles` or `ImageContents`.
            inputs: dict of name -> text or texts.
            explain: see `predict`.
            on_prediction: called with each `Prediction` as soon as it is made.

        Returns:
            List of `Prediction`; see `predict`.
        """
        check_explanation(explain)
        texts = _texts(self.run_dir, self.config.task, self.task.inputs, inputs)
        size = min(_BATCH, len(source))
        predictor = self._predictor_of(texts, explain is not None, size)
        drawings = drawing_paths(explain, [Path(name) for name in source.image_ids], predictor.count)
        rows = tf.data.Dataset.range(len(source)).batch(size).map(lambda index: {"index": index})
        data = dataclasses.replace(self.config.data, max_bad_share=1.0)
        predictions, read = [], 0
        with Progress("predictions", len(source), "image", show=len(source) > size) as progress:
            for row in load_images(rows, source, data).prefetch(1):
                for prediction in _batch(row, source, predictor, drawings):
                    predictions.append(prediction)
                    if on_prediction is not None:
                        on_prediction(prediction)
                read += len(row["index"])
                progress.to(read)
        return predictions

    def _predictor_of(self, texts: list[str], explains: bool, size: int) -> Any:
        """The task's predictor; the last one is kept, so that its graph is not built again."""
        key = (tuple(texts), explains, size)
        if self._predictor is None or self._predictor[0] != key:
            self._predictor = key, self.task.predictor(self.model, texts, explains)
        return self._predictor[1]


def _content(image: Any) -> bytes:
    """The bytes of an image file, from any kind of image that `LoadedRun.predict` accepts."""
    if isinstance(image, (str, Path)):
        return Path(image).expanduser().read_bytes()
    if isinstance(image, bytes):
        return image
    if isinstance(image, Image.Image):
        return encode_pil(image)
    image = np.asarray(image)
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[-1] != 3:
        raise RunError(
            "An image must be a file, the bytes of one, a PIL.Image, or a (height, width, 3) uint8 array; got "
            f"{image.dtype} of shape {image.shape}."
        )
    return tf.io.encode_png(image).numpy()


def check_explanation(path: str | Path | None) -> None:
    """Raises `RunError` if a file for explanations is no PNG file."""
    if path is not None and Path(path).suffix.lower() != ".png":
        raise RunError(f"An explanation is a PNG file; `{path}` does not end in .png.")


def _texts(
    run_dir: str | Path, task: str, known: Sequence[TextInput], inputs: Mapping[str, str | Sequence[str]]
) -> list[str]:
    """The texts of a task's input; raises `RunError` if it is missing or if another input is given."""
    given = {name: [texts] if isinstance(texts, str) else list(texts) for name, texts in inputs.items()}
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


def _batch(
    row: Mapping[str, tf.Tensor], files: ImageFiles | ImageContents, predictor: Any, drawings: list[Path]
) -> Iterator[Prediction]:
    found = predictor(row["image"])
    reasons = dict(files.quarantine.rows)
    for index, readable, of_image in zip(row["index"].numpy(), row["image_ok"].numpy(), found, strict=True):
        path = files.image_ids[index]
        if not readable:
            yield Prediction(path, reasons.get(path, "cannot be read"))
            continue
        image = decode_pixels(files.read_images([index])[0]) if drawings else None
        for number, (line, output, draw) in enumerate(of_image):
            drawing = None
            if draw is not None:
                drawing = str(drawings[index * predictor.count + number])
                draw(image, Path(path).name).save(drawing)
            yield Prediction(path, OK, line, output, drawing)
