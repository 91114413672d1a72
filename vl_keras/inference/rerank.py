"""The second stage of a search: a matching model, which reads image and text together, judges the candidates."""

import json

import numpy as np

from vl_keras.errors import RunError
from vl_keras.progress import Progress
from vl_keras.runs.load_run import load_run

# What makes one run read an image that the other refuses is among them: a pair without a score cannot be ranked.
_SAME_DATA = ("dataset", "manifest", "manual_dir", "data_dir", "max_examples", "max_pixels", "max_bad_share")


class Reranker:
    """A trained matching run that judges pairs of a retrieval run's split.

    Args:
        run_dir: folder of the matching run.
        task: the `RetrievalTask` whose images and captions are judged.
        split: name.

    Attributes:
        which: the matching run and its weights, in words.

    Raises:
        RunError: there is no such run, or it is not of matching, or sees other images.
    """

    def __init__(self, run_dir, task, split):
        data = task.config.data
        # As JSON, which YAML reads: a path may hold what means something else in YAML.
        overrides = [f"data.{name}={json.dumps(getattr(data, name), ensure_ascii=False)}" for name in _SAME_DATA]
        config, self._task, self._model, which = load_run(run_dir, overrides=overrides)
        if config.task != "matching":
            raise RunError(f"`retrieval.rerank_with` is a matching run; `{run_dir}` is one of {config.task}.")
        if self._task.source(split).fingerprint != task.source(split).fingerprint:
            raise RunError(f"The run `{run_dir}` of `retrieval.rerank_with` sees another split `{split}`.")
        self.which = f"{run_dir}, {which}"
        self._split = split

    def scores(self, images, texts):
        """Logits that pairs match, `(P,)`.

        Args:
            images: `(P,)` indices in the source.
            texts: list of P strings; the same pair may occur again.
        """
        unique, place = {}, np.empty(len(texts), np.int64)
        for number, pair in enumerate(zip(np.asarray(images).tolist(), texts, strict=True)):
            place[number] = unique.setdefault(pair, len(unique))
        owners, strings = zip(*unique, strict=True)
        with Progress("reranking", len(self._task.source(self._split)), "image") as progress:
            logits = self._task.pair_logits(self._model, self._split, owners, list(strings), progress.to)
        return logits[place, 0]
