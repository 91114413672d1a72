"""Image-text matching: whether a text is about an image."""

from typing import NamedTuple

import numpy as np
import tensorflow as tf
import tf_keras as keras

from vl_keras.data.epoch_plan import choose_negatives
from vl_keras.errors import DataError
from vl_keras.losses.match_loss import MatchLoss
from vl_keras.metrics.match_scores import best_threshold, match_scores
from vl_keras.tasks.described import dataset_name, describe_data
from vl_keras.tasks.pairing.pair_task import PairTask
from vl_keras.tasks.pairing.text_signatures import text_signatures

_PAIR_SEED = 20201  # of the negatives that a split is measured with; fixed, so that runs are compared on the same pairs


class Match(NamedTuple):
    """What was said of one pair.

    Attributes:
        index: of the image in the source.
        image_id: its name.
        text: that it was paired with.
        probability: that they match, as the model says.
        match: whether they do.
    """

    index: int
    image_id: str
    text: str
    probability: float
    match: bool


class MatchingTask(PairTask):
    """Binary classification of image-text pairs; the negatives are chosen as `matching.negatives` says."""

    monitor = "balanced_accuracy"

    def __init__(self, config, tokenizer=None, encoder_weights=None, jit_compile=False):
        super().__init__(config, tokenizer, encoder_weights, jit_compile)
        self._negatives = config.matching.negatives
        self._neighbours = None

    def check_data(self):
        if self._negatives == "given":
            self._given(self.config.data.train_split)
        else:
            super().check_data()
        dev = self.config.data.dev_split
        self._check_both(dev, np.array(self.pairs(dev, self.config.training.evaluate_examples)[2], bool))

    def texts(self, split):
        source = self.source(split)
        if self._negatives != "given":
            return source.captions
        return [[pair["question"] for pair in pairs] for pairs in self._given(split)]

    def training_data(self, model, first_step=0, num_workers=1, worker=0):
        """Endless dataset of `(x, y, weight)`, y `(B, K, 1)` float32; see `text_dataset`.

        K is `data.captions_per_image` of an image's own texts, and with `random` and `nearest` as many of others'.
        With `batch` and `hardest`, y is 1 where there is a text and its image can be read.
        """
        drawn = self.config.data.captions_per_image if self._negatives in ("random", "nearest") else 0
        neighbours = self._nearest(model) if self._negatives == "nearest" else None
        batches = self._text_dataset(model, self._label, first_step, num_workers, worker, drawn, neighbours)
        if self._negatives in ("batch", "hardest"):
            # What does not count must not be a negative of the rest either.
            batches = batches.map(lambda x, y, weight: (x, y * tf.cast(weight > 0, y.dtype)[..., tf.newaxis], weight))
        return batches

    def loss(self):
        if self._negatives in ("batch", "hardest"):
            return MatchLoss(hardest=self._negatives == "hardest")
        return keras.losses.BinaryCrossentropy(from_logits=True, label_smoothing=self.config.training.label_smoothing)

    def measure(self, model, split, limit=0, progress=None):
        """Scores of the pairs of a split: with `given` its own, else every caption, once with its image and once in
        place of a caption of another image, drawn uniformly, the same ones each time.

        Args:
            model: a `PairClassifier`.
            split: name.
            limit: only the pairs of the first so many images; 0: all.
            progress: called with the number of images that are done.

        Returns:
            Dict of measures, those of `match_scores` at probability 0.5, `best_threshold`, and list of `Match`.
        """
        source = self.source(split)
        owners, texts, truth = self.pairs(split, limit)
        logits = self.pair_logits(model, split, owners, texts, progress)[:, 0]
        matches = [
            Match(owner, source.image_ids[owner], text, float(1 / (1 + np.exp(-logit))), bool(match))
            for owner, text, match, logit in zip(owners, texts, truth, logits, strict=True)
            if not np.isnan(logit)
        ]
        probability = np.array([match.probability for match in matches])
        truth = np.array([match.match for match in matches], bool)
        self._check_both(split, truth)
        metrics = match_scores(probability, truth)
        metrics["best_threshold"] = best_threshold(probability, truth)
        return metrics, matches

    def epoch_metrics(self, model, split, limit=0, progress=None, weights=""):
        metrics, matches = self.measure(model, split, limit, progress)
        return metrics, self.signature(matches, split, weights)

    def signature(self, matches, split, weights):
        """Dict that says what measures were taken with."""
        return {
            **describe_data(self.config.data, split),
            "images": len({match.index for match in matches}),
            "pairs": len(matches),
            "negatives": "given" if self._negatives == "given" else "random, one a caption",
            "weights": weights,
        }

    def serving_signatures(self, model):
        """What the trained model answers when it is served; the first one is the default."""
        return text_signatures(self, model, "match", "text")

    def say(self, model, regions, text_ids):
        """The outputs of `match`, the serving signature, for regions `(P, R, D)` and texts `(P, T)`, in graph.

        Dict: `probability` `(P,)` that they match.
        """
        return {"probability": tf.sigmoid(model.answer(regions, text_ids)["logits"][:, 0])}

    def pairs(self, split, limit=0):
        """Images, texts and labels of the pairs that a split is measured with."""
        if self._negatives == "given":
            rows = [(i, pair) for i, pairs in enumerate(self._given(split)[: limit or None]) for pair in pairs]
            images, pairs = [i for i, _ in rows], [pair for _, pair in rows]
            return images, [pair["question"] for pair in pairs], [pair["answer"] == "match" for pair in pairs]
        captions = self.source(split).captions
        counts = np.array([len(own) for own in captions])
        everything = [text for own in captions for text in own]
        others = choose_negatives(counts, counts.max(), np.random.default_rng(_PAIR_SEED))
        owners, texts, truth = [], [], []
        for index, own in enumerate(captions[: limit or None]):
            for place, caption in enumerate(own):
                if others[index, place] >= 0:
                    owners += [index, index]
                    texts += [caption, everything[others[index, place]]]
                    truth += [True, False]
        return owners, texts, truth

    def _given(self, split):
        """For each image of a split, its labelled texts."""
        pairs = [[q for q in questions if q["kind"] == "pair"] for questions in self.source(split).questions]
        if not any(pairs):
            raise DataError(
                f"`matching.negatives` is given, but split `{split}` of {dataset_name(self.config.data)} has no "
                "labelled pairs; these are lines of a `.tsv` file in `data.manifest`: image, text, match or no-match."
            )
        return pairs

    def _check_both(self, split, truth):
        if truth.all() or not truth.any():
            advice = "" if self._negatives == "given" else " Give it at least two images with captions."
            raise DataError(
                f"Split `{split}` of {dataset_name(self.config.data)} cannot be scored: of its {len(truth)} readable "
                f"pairs {truth.sum()} match, and scores need some that match and some that do not.{advice}"
            )

    def _label(self, rows):
        """Function of text numbers to labels, and to whether there is a text."""
        own = self.config.data.captions_per_image
        if self._negatives != "given":

            def by_place(number):
                label = tf.cast(tf.range(tf.shape(number)[1]) < own, tf.float32)
                return tf.broadcast_to(label[None, :, None], (*number.shape, 1)), number >= 0

            return by_place
        labels = [pair["answer"] == "match" for pairs in self._given(self.config.data.train_split) for pair in pairs]
        labels = tf.constant(labels * (len(rows.texts) // max(len(labels), 1)), tf.float32)

        def by_number(number):
            return tf.gather(labels, tf.maximum(number, 0))[..., None], number >= 0

        return by_number

    def _nearest(self, model):
        """`(images, n)`: the training images whose mean image token is most alike, by cosine, the nearest first."""
        if self._neighbours is None:
            split = self.config.data.train_split
            pooled = tf.function(
                lambda inputs: tf.reduce_mean(
                    tf.cast(
                        inputs["image_tokens"]
                        if "image_tokens" in inputs
                        else model.image_encoder(inputs["image"], training=False)["image_tokens"],
                        tf.float32,
                    ),
                    axis=1,
                )
            )
            vectors = np.concatenate([pooled(inputs).numpy() for inputs, _ in self._image_batches(model, split)])
            vectors /= np.linalg.norm(vectors, axis=1, keepdims=True) + 1e-9
            count = min(self.config.matching.neighbours, len(vectors) - 1)
            nearest = []
            for start in range(0, len(vectors), 512):
                similarity = vectors[start : start + 512] @ vectors.T
                similarity[np.arange(len(similarity)), start + np.arange(len(similarity))] = -np.inf
                nearest.append(np.argsort(-similarity, axis=1)[:, :count])
            self._neighbours = np.concatenate(nearest)
        return self._neighbours
