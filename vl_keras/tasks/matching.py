"""Image-text matching: whether a text describes an image."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from vl_keras.config.setting import at_least, one_of, setting
from vl_keras.tasks.described import describe_data
from vl_keras.tasks.pairing.pair_task import PairTask
from vl_keras.tasks.task import Evaluation, TextInput

if TYPE_CHECKING:
    import numpy as np
    import tensorflow as tf

    from vl_keras.models.pair_classifier import PairClassifier
    from vl_keras.tasks.pairing.match_pairs import Match


@dataclass(frozen=True)
class MatchingSettings:
    """Image-text matching."""

    negatives: str = setting(
        "random",
        "Texts that do not match. random: captions of any other image; nearest: of images that look alike; batch: each "
        "text with every other image of the batch; hardest: with the images that the model takes most for matches; "
        "given: the labels of the data.",
        one_of("random", "nearest", "batch", "hardest", "given"),
    )
    neighbours: int = setting(50, "Most similar images of each image, which `nearest` draws from.", at_least(1))


class MatchingTask(PairTask):
    """Binary classification of image-text pairs; `matching.negatives` sets how negatives are chosen."""

    sections = {"matching": MatchingSettings}
    returns = ("probability",)
    monitor = "balanced_accuracy"
    signature_name = "match"
    inputs = (TextInput("text", "text compared with every image", many=True, required=True),)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.negatives = self.settings.negatives
        self._neighbours: dict[str, np.ndarray] = {}  # by split

    @property
    def all_pairs(self) -> bool:
        return self.negatives in ("batch", "hardest")

    def check_data(self) -> None:
        import numpy as np

        from vl_keras.tasks.pairing.match_pairs import check_both, given_pairs, pairs_of_split

        if self.negatives == "given":
            given_pairs(self, self.config.data.train_split)
        else:
            super().check_data()
        dev = self.config.data.dev_split
        truth = pairs_of_split(self, dev, self.config.training.evaluate_examples)[2]
        check_both(self, dev, np.array(truth, bool))

    def texts(self, split: str) -> list[list[str]]:
        if self.negatives != "given":
            return self.source(split).captions
        from vl_keras.tasks.pairing.match_pairs import given_pairs

        return [[pair["question"] for pair in pairs] for pairs in given_pairs(self, split)]

    def training_data(
        self, model: PairClassifier, first_step: int = 0, num_workers: int = 1, worker: int = 0
    ) -> tf.data.Dataset:
        """Endless dataset of `(x, y, weight)`, y `(B, K, 1)` float32; see `text_dataset`.

        K counts `data.captions_per_image` texts of the image and, with `random` and `nearest`, as many texts of other
        images. With `batch` and `hardest`, y is 1 if there is a text and its image can be read.
        """
        import tensorflow as tf

        from vl_keras.tasks.pairing.match_pairs import match_labels, nearest_images

        drawn = self.config.data.captions_per_image if self.negatives in ("random", "nearest") else 0
        split = self.config.data.train_split
        if self.negatives == "nearest" and split not in self._neighbours:
            self._neighbours[split] = nearest_images(self, model)
        neighbours = self._neighbours.get(split)
        batches = self._text_dataset(
            model, lambda rows: match_labels(self, rows), first_step, num_workers, worker, drawn, neighbours
        )
        if self.all_pairs:
            # A pair that does not count must not be a negative of the others either.
            batches = batches.map(lambda x, y, weight: (x, y * tf.cast(weight > 0, y.dtype)[..., tf.newaxis], weight))
        return batches

    def loss(self) -> Callable[..., Any]:
        if self.all_pairs:
            from vl_keras.losses.match_loss import MatchLoss

            return MatchLoss(hardest=self.negatives == "hardest")
        import tf_keras as keras

        return keras.losses.BinaryCrossentropy(from_logits=True, label_smoothing=self.config.training.label_smoothing)

    def score_split(
        self,
        model: PairClassifier,
        split: str,
        limit: int = 0,
        progress: Callable[[int], None] | None = None,
    ) -> tuple[dict[str, float], list[Match]]:
        """Scores the pairs of a split.

        With `matching.negatives` `given`, the pairs are those of the data. Otherwise every image is paired with each of
        its captions and with as many captions of other images, drawn uniformly, the same ones in every call.

        Args:
            model: a `PairClassifier`.
            split: name.
            limit: only the pairs of the first so many images; 0: all.
            progress: called with the number of images that are done.

        Returns:
            Dict of metrics: those of `match_scores` at probability 0.5, and `best_threshold`; and list of `Match`.
        """
        from vl_keras.tasks.pairing.match_pairs import score_pairs

        return score_pairs(self, model, split, limit, progress)

    def epoch_metrics(
        self,
        model: PairClassifier,
        split: str,
        limit: int = 0,
        progress: Callable[[int], None] | None = None,
        weights: str = "",
    ) -> tuple[dict[str, float], dict[str, Any]]:
        metrics, matches = self.score_split(model, split, limit, progress)
        return metrics, self.signature(matches, split, weights)

    def signature(self, matches: list[Match], split: str, weights: str) -> dict[str, Any]:
        """Dict that describes how metrics were computed."""
        return {
            **describe_data(self.config.data, split),
            "images": len({match.index for match in matches}),
            "pairs": len(matches),
            "negatives": "given" if self.negatives == "given" else "random, one a caption",
            "weights": weights,
        }

    def evaluate(self, model: PairClassifier, request: Evaluation) -> dict[str, Any]:
        from vl_keras.tasks.pairing.evaluate_matches import evaluate_matches

        return evaluate_matches(self, model, request)

    def outputs(self, model: PairClassifier, regions: tf.Tensor, text_ids: tf.Tensor) -> dict[str, tf.Tensor]:
        """The outputs of the serving signature `match`, in graph; see `TextPairTask.outputs`.

        Returns:
            Dict: `probability` `(P,)` that image and text match.
        """
        import tensorflow as tf

        return {"probability": tf.sigmoid(model.answer(regions, text_ids)["logits"][:, 0])}

    def describe(self, output: Mapping[str, Any]) -> str:
        return f"{'match' if output['probability'] >= 0.5 else 'no match'} ({output['probability']:.2f})"

    def match_logits(
        self,
        model: PairClassifier,
        split: str,
        owners: Sequence[int],
        texts: Sequence[str],
        progress: Callable[[int], None] | None = None,
    ) -> np.ndarray:
        """Logits `(P,)` that the images `owners` of a split match the texts; NaN if an image cannot be read."""
        return self.pair_logits(model, split, owners, texts, progress)[:, 0]
