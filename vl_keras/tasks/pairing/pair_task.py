"""What question answering and matching share: a classifier of image-text pairs."""

import numpy as np
import tensorflow as tf

from vl_keras.models.pair_classifier import build_pair_classifier
from vl_keras.tasks.pairing.text_task import TextTask

_MODEL_SETTINGS = (
    "fusion",
    "reads",
    "hidden_dim",
    "num_heads",
    "num_layers",
    "image_layers",
    "intermediate_dim",
    "dropout",
    "image_dropout",
)
_PAIRS_AT_ONCE = 256


class PairTask(TextTask):
    """A task that a `PairClassifier` does; see `TextTask`. A subclass also has `num_outputs`, A of its logits."""

    num_outputs = 1

    def __init__(self, config, tokenizer=None, encoder_weights=None, jit_compile=False):
        super().__init__(config, tokenizer, encoder_weights, jit_compile)
        self._answer = (None, None)

    def build(self):
        """A `PairClassifier` with fresh weights, under the current strategy and precision policy."""
        config = self.config
        return build_pair_classifier(
            self._build_image_encoder(),
            self._build_text_model(),
            self.num_outputs,
            from_image_tokens=config.image_encoder.cache_features,
            from_text_tokens=config.text_encoder.cache_features,
            all_pairs=config.task == "matching" and config.matching.negatives in ("batch", "hardest"),
            **{name: getattr(config.model, name) for name in _MODEL_SETTINGS},
        )

    def parts(self, model):
        """Dict of name -> keras.Model: everything of a `PairClassifier` that has weights."""
        return {name: getattr(model, name) for name in ("image_encoder", "text_encoder", "image_reader", "pair_reader")}

    def pair_logits(self, model, split, owners, texts, progress=None):
        """Logits of pairs of a split's images with texts.

        Args:
            model: a `PairClassifier`.
            split: name.
            owners: `(P,)` ints, each pair's image.
            texts: list of P strings.
            progress: called with the number of images read, of those that occur.

        Returns:
            `(P, A)` float32; NaN where the image cannot be read.
        """
        owners = np.asarray(owners)
        unique = {text: number for number, text in enumerate(dict.fromkeys(texts))}
        numbers = np.array([unique[text] for text in texts], np.int64)
        read, function = self._text_reader(model, list(unique))
        logits = np.full((len(owners), self.num_outputs), np.nan, np.float32)
        order = np.argsort(owners, kind="stable")
        ranked = owners[order]
        last = ranked[-1] if len(ranked) else -1
        done = 0
        for inputs, indices in self._image_batches(model, split):
            pairs = order[np.searchsorted(ranked, indices[0]) : np.searchsorted(ranked, indices[-1], side="right")]
            regions = self._read_images(model)(inputs) if len(pairs) else None
            # Pairs of like length together, so that little is padded.
            pairs = pairs[np.argsort(read.lengths[numbers[pairs]], kind="stable")]
            for start in range(0, len(pairs), _PAIRS_AT_ONCE):
                chosen = pairs[start : start + _PAIRS_AT_ONCE]
                rows = np.searchsorted(indices, owners[chosen])
                logits[chosen] = function(regions, tf.constant(rows), *read(numbers[chosen]))
            done += len(indices)
            if progress is not None:
                progress(done)
            if indices[-1] >= last:
                break
        source = self.source(split)
        unreadable = {name for name, _ in source.quarantine.rows}
        bad = [index for index, name in enumerate(source.image_ids) if name in unreadable]
        logits[np.isin(owners, bad)] = np.nan
        return logits

    def _read_images(self, model):
        return self._functions(model)[0]

    def _text_reader(self, model, texts):
        """What reads texts by number, and the function of `(regions, rows, *what it gives)` to logits."""
        _, from_tokens, from_ids = self._functions(model)
        if self.config.text_encoder.cache_features:
            features = self.text_features(model, texts)

            def read(numbers):
                tokens, mask = features.read(numbers)
                return tf.constant(tokens), tf.constant(mask)

            read.lengths = features.lengths
            return read, from_tokens
        ids = self._ids(texts)
        lengths = np.array([len(text) for text in ids], np.int64)

        def read(numbers):
            padded = np.zeros((len(numbers), max(int(lengths[numbers].max()), 1)), np.int32)
            for row, number in enumerate(numbers):
                padded[row, : lengths[number]] = ids[number]
            return (tf.constant(padded),)

        read.lengths = lengths
        return read, from_ids

    def _functions(self, model):
        """Graphs of a model's parts; those of the last model are kept, so that they are built once."""
        of, functions = self._answer
        if of is not model:

            def from_tokens(regions, rows, tokens, mask):
                inputs = {"image_regions": tf.gather(regions, rows), "text_tokens": tokens, "text_mask": mask}
                return model.pair_reader(inputs, training=False)["logits"]

            def from_ids(regions, rows, ids):
                return model.answer(tf.gather(regions, rows), ids)["logits"]

            functions = tuple(
                tf.function(function, reduce_retracing=True, autograph=False)
                for function in (model.read_images, from_tokens, from_ids)
            )
            self._answer = (model, functions)
        return functions
