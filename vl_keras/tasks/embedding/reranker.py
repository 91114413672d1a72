"""The second stage of a search: a model that reads image and text together scores the candidates."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from vl_keras.config import as_override
from vl_keras.errors import RunError
from vl_keras.progress import Progress

if TYPE_CHECKING:
    from vl_keras.tasks.retrieval import RetrievalTask

# They include the limits by which an image is refused: both runs must read the same images, because a pair without a
# score cannot be ranked.
_SAME_DATA = ("dataset", "manifest", "manual_dir", "data_dir", "max_examples", "max_pixels", "max_bad_share")


class Reranker:
    """A trained run whose task has `match_logits`, which scores pairs of a retrieval run's split.

    Args:
        run_dir: folder of the run.
        task: the `RetrievalTask` whose images and captions are scored.
        split: name.
        load_run: loads the run; see `Evaluation`.

    Attributes:
        which: the run and its weights, in words.

    Raises:
        RunError: there is no such run, its task does not match images with texts, or its data differs.
    """

    def __init__(self, run_dir: str, task: RetrievalTask, split: str, load_run: Callable[..., tuple]) -> None:
        data = task.config.data
        # As JSON, which YAML reads: a path may hold characters that mean something else in YAML.
        overrides = [as_override(f"data.{name}", getattr(data, name)) for name in _SAME_DATA]
        config, self._task, self._model, which = load_run(run_dir, overrides=overrides)
        if not hasattr(self._task, "match_logits"):
            raise RunError(
                f"`retrieval.rerank_with` must be a run of a task that matches images with texts; `{run_dir}` is a "
                f"{config.task} run."
            )
        if self._task.source(split).fingerprint != task.source(split).fingerprint:
            raise RunError(f"The run `{run_dir}` of `retrieval.rerank_with` has different data in split `{split}`.")
        self.which = f"{run_dir}, {which}"
        self._split = split

    def scores(self, images: Sequence[int], texts: Sequence[str]) -> np.ndarray:
        """The logits that image-text pairs match, `(P,)`.

        Args:
            images: `(P,)` indices in the source.
            texts: P strings; the same pair may occur again.
        """
        unique: dict[tuple[int, str], int] = {}
        place = np.empty(len(texts), np.int64)
        for number, pair in enumerate(zip(np.asarray(images).tolist(), texts, strict=True)):
            place[number] = unique.setdefault(pair, len(unique))
        owners, strings = zip(*unique, strict=True)
        with Progress("reranking", len(self._task.source(self._split)), "image") as progress:
            logits = self._task.match_logits(self._model, self._split, owners, list(strings), progress.to)
        return logits[place]
