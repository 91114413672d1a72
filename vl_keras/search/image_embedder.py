"""Vectors of images and texts, from a trained retrieval run."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from vl_keras.data.image_batches import load_image, load_images
from vl_keras.data.image_files import ImageFiles
from vl_keras.errors import RunError
from vl_keras.progress import Progress
from vl_keras.retrieval.querybank import Querybank
from vl_keras.runs.load_run import load_run

_BATCH = 32
# Places of the images that were read, their vectors, and `(path, reason)` of those that cannot be read.
Embedded = tuple[np.ndarray, np.ndarray, list[tuple[str, str]]]


class ImageEmbedder:
    """Maps images and texts to vectors of one space; the inner product of two vectors is their score.

    The vectors are L2-normalised, so the score is the cosine. If the run has a querybank, the vectors are one element
    longer, and the score is that of the `Querybank` except for a term that is constant for each query.

    Args:
        run_dir: folder of a trained retrieval run.
        weights: `auto`, `best`, `last` or `ema`; see `load_run`.
        overrides: `"data.…=value"` and `"retrieval.querybank=value"` strings; see `load_run`.

    Attributes:
        fingerprint: hex string of all that determines the vectors.

    Raises:
        RunError: there is no such run, or its task does not embed images.
    """

    def __init__(self, run_dir: str | Path, weights: str = "auto", overrides: Sequence[str] = ()) -> None:
        self._task: Any  # of any class that embeds images
        config, self._task, self._model, _ = load_run(run_dir, weights, overrides)
        if not hasattr(self._task, "embed_images"):
            raise RunError(f"`{run_dir}` is a {config.task} run; images are searched with a retrieval run.")
        self._run_dir = run_dir
        self._data = dataclasses.replace(config.data, max_bad_share=1.0)
        self._embed_images = tf.function(lambda image: self._task.embed_images(self._model, image))
        self.fingerprint = self._task.fingerprint(self._model)
        self._has_bank = self._task.settings.querybank > 0
        if self._has_bank:
            texts = json.dumps(self._task.querybank_texts)
            self.fingerprint = hashlib.sha256(f"{self.fingerprint}{texts}".encode()).hexdigest()

    def embed_images(self, paths: Sequence[str]) -> Iterator[Embedded]:
        """Vectors of image files for an index; an image that cannot be read does not affect the others.

        Args:
            paths: the files.

        Returns:
            Iterator of `(places, vectors, failed)` for each batch, in order: `(n,)` places in `paths`, `(n, D)` float32
            vectors, and a list of `(path, reason)` for the images that cannot be read. This call embeds the querybank;
            the iterator embeds the images.

        Raises:
            RunError: the run's vectors are not finite.
        """
        batches = self._embed_files(paths)
        if not (self._has_bank and paths):
            return batches
        bank = self._bank
        return ((places, bank.of_images(vectors)[:, :-1], failed) for places, vectors, failed in batches)

    def text_query(self, text: str) -> np.ndarray:
        """The `(D,)` float32 vector of a text, to search images with."""
        return self._query(self._checked(self._task.embed_texts(self._model, tf.constant([text])).numpy())[0], 1.0)

    def image_query(self, path: str | Path) -> np.ndarray:
        """The `(D,)` float32 vector of an image file, to search similar images with; scores are cosines.

        Raises:
            RunError: the image cannot be read.
        """
        try:
            content = Path(path).expanduser().read_bytes()
        except OSError as error:
            raise RunError(f"The image `{path}` cannot be read: {error.strerror or error}.") from error
        image, reason = load_image(content, self._data)
        if image is None:
            raise RunError(f"The image `{path}` cannot be read: {reason}.")
        return self._query(self._checked(self._embed_images(image[None]).numpy())[0], 0.0)

    def _query(self, vector: np.ndarray, bank_counts: float) -> np.ndarray:
        return np.append(vector, np.float32(bank_counts)) if self._has_bank else vector

    @functools.cached_property
    def _bank(self) -> Querybank:
        texts = self._task.querybank_texts
        with Progress("querybank", len(texts), "text") as progress:
            vectors = self._checked(self._task.embed_captions(self._model, texts, progress.to))
        return Querybank(None, vectors, self._task.similarity_scale(self._model))

    def _embed_files(self, paths: Sequence[str]) -> Iterator[Embedded]:
        if not paths:
            return
        files = ImageFiles(paths)
        size = min(_BATCH, len(files))
        # Every batch is filled up to one size, so that the model is traced once.
        places = np.arange(-(-len(files) // size) * size).reshape(-1, size)
        rows = tf.data.Dataset.from_tensor_slices({"index": np.minimum(places, len(files) - 1)})
        for number, row in enumerate(load_images(rows, files, self._data).prefetch(1)):
            count = min(size, len(files) - number * size)
            index, readable = row["index"].numpy()[:count], row["image_ok"].numpy()[:count]
            vectors = self._checked(self._embed_images(row["image"]).numpy()[:count][readable])
            reasons = dict(files.quarantine.rows)
            names = [files.image_ids[place] for place in index[~readable]]
            yield index[readable], vectors, [(name, reasons.get(name, "cannot be read")) for name in names]

    def _checked(self, vectors: np.ndarray) -> np.ndarray:
        if not np.isfinite(vectors).all():
            raise RunError(
                f"The run `{self._run_dir}` returns vectors that are not finite; choose other weights (--weights)."
            )
        return vectors.astype(np.float32)
