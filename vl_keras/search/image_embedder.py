"""Vectors of anybody's images and texts, from a trained retrieval run."""

import dataclasses
import functools
import hashlib
import json
from pathlib import Path

import numpy as np
import tensorflow as tf

from vl_keras.data.image_batches import load_image, load_images
from vl_keras.data.image_files import ImageFiles
from vl_keras.errors import RunError
from vl_keras.progress import Progress
from vl_keras.retrieval.querybank import Querybank
from vl_keras.runs.load_run import load_run

_BATCH = 32


class ImageEmbedder:
    """Images and texts to vectors of one space, whose inner product is their score.

    The vectors are L2-normalised and the score is the cosine; where the run has a querybank, D is one more, and the
    score is the `Querybank`'s but for what is constant for a query.

    Args:
        run_dir: folder of a trained retrieval run.
        weights: `auto`, `best`, `last` or `ema`; see `load_run`.
        overrides: `"data.…=value"` and `"retrieval.querybank=value"` strings.

    Attributes:
        fingerprint: hex string of all that determines the vectors.

    Raises:
        RunError: there is no such run, or it is not of retrieval.
    """

    def __init__(self, run_dir, weights="auto", overrides=()):
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

    def embed_images(self, paths):
        """Vectors of image files that are to be found; one that cannot be read costs itself.

        Args:
            paths: the files.

        Returns:
            Iterator of `(places, vectors, failed)` for each batch of them, in order: `(n,)` places in `paths`, `(n, D)`
            float32, and a list of `(path, reason)` of those that could not be read. The querybank is embedded by this
            call, the images as they are asked for.

        Raises:
            RunError: the run gives vectors that are no numbers.
        """
        batches = self._embed_files(paths)
        if not (self._has_bank and paths):
            return batches
        bank = self._bank
        return ((places, bank.of_images(vectors)[:, :-1], failed) for places, vectors, failed in batches)

    def text_query(self, text):
        """`(D,)` float32 of a string that images are looked for with."""
        return self._query(self._checked(self._task.embed_texts(self._model, tf.constant([text])).numpy())[0], 1.0)

    def image_query(self, path):
        """`(D,)` float32 of an image file that others like it are looked for with: their scores are cosines."""
        try:
            content = Path(path).expanduser().read_bytes()
        except OSError as error:
            raise RunError(f"The image `{path}` cannot be read: {error.strerror or error}.") from error
        image, reason = load_image(content, self._data)
        if reason:
            raise RunError(f"The image `{path}` cannot be read: {reason}.")
        return self._query(self._checked(self._embed_images(image[None]).numpy())[0], 0.0)

    def _query(self, vector, bank_counts):
        return np.append(vector, np.float32(bank_counts)) if self._has_bank else vector

    @functools.cached_property
    def _bank(self):
        texts = self._task.querybank_texts
        with Progress("querybank", len(texts), "text") as progress:
            vectors = self._checked(self._task.embed_captions(self._model, texts, progress.to))
        return Querybank(None, vectors, self._task.similarity_scale(self._model))

    def _embed_files(self, paths):
        if not paths:
            return
        files = ImageFiles(paths)
        size = min(_BATCH, len(files))
        # The model always sees a full batch: one shape is traced, once.
        places = np.arange(-(-len(files) // size) * size).reshape(-1, size)
        rows = tf.data.Dataset.from_tensor_slices({"index": np.minimum(places, len(files) - 1)})
        for number, row in enumerate(load_images(rows, files, self._data).prefetch(1)):
            count = min(size, len(files) - number * size)
            index, readable = row["index"].numpy()[:count], row["image_ok"].numpy()[:count]
            vectors = self._checked(self._embed_images(row["image"]).numpy()[:count][readable])
            reasons = dict(files.quarantine.rows)
            names = [files.image_ids[place] for place in index[~readable]]
            yield index[readable], vectors, [(name, reasons.get(name, "cannot be read")) for name in names]

    def _checked(self, vectors):
        if not np.isfinite(vectors).all():
            raise RunError(f"The run `{self._run_dir}` gives vectors that are no numbers; take other weights.")
        return vectors.astype(np.float32)
