"""Retrieval: images and texts in one space, to find either by the other."""

import functools
import hashlib
import json
import math
from pathlib import Path

import numpy as np
import tensorflow as tf

from vl_keras.encoders.image_encoder import encoder_fingerprint
from vl_keras.losses.contrastive_losses import CONTRASTIVE_LOSSES, INITIAL_SCALE_AND_BIAS
from vl_keras.metrics.retrieval_scores import retrieval_scores
from vl_keras.models.dual_encoder import build_dual_encoder
from vl_keras.retrieval.caption_memory import CaptionMemory
from vl_keras.tasks.described import describe_data
from vl_keras.tasks.embedding.retrieval_signatures import retrieval_signatures
from vl_keras.tasks.pairing.text_task import TextTask

_MODEL_SETTINGS = (
    "hidden_dim",
    "num_heads",
    "num_layers",
    "image_layers",
    "intermediate_dim",
    "dropout",
    "image_dropout",
)
_TEXTS_AT_ONCE = 128
_QUERYBANK = "querybank.jsonl"
PROTOCOL = 1000  # images of a fold


class RetrievalTask(TextTask):
    """A dual encoder trained with one of `CONTRASTIVE_LOSSES` on images and their captions."""

    monitor = "mean_recall"

    def __init__(self, config, tokenizer=None, encoder_weights=None, jit_compile=False):
        super().__init__(config, tokenizer, encoder_weights, jit_compile)
        self._embed = (None, None)

    def texts(self, split):
        return self.source(split).captions

    @functools.cached_property
    def querybank_texts(self):
        """A caption of each of the first `retrieval.querybank` training images."""
        captions = [own[0] for own in self.texts(self.config.data.train_split) if own]
        return captions[: self.config.retrieval.querybank]

    def save_vocabularies(self, folder):
        super().save_vocabularies(folder)
        if self.config.retrieval.querybank:
            lines = [json.dumps(text) + "\n" for text in self.querybank_texts]
            (Path(folder) / _QUERYBANK).write_text("".join(lines), encoding="utf-8")

    def load_vocabularies(self, folder):
        super().load_vocabularies(folder)
        path = Path(folder) / _QUERYBANK
        if path.exists():
            lines = path.read_text(encoding="utf-8").splitlines()
            self.querybank_texts = [json.loads(line) for line in lines][: self.config.retrieval.querybank]

    def build(self):
        """A `DualEncoder` with fresh weights, under the current strategy and precision policy."""
        config, retrieval = self.config, self.config.retrieval
        log_scale, bias = INITIAL_SCALE_AND_BIAS[retrieval.loss]
        if retrieval.loss == "info_nce":
            log_scale = -math.log(retrieval.temperature)
        return build_dual_encoder(
            self._build_image_encoder(),
            self._build_text_model(),
            retrieval.embedding_dim,
            log_scale=log_scale,
            bias=bias,
            from_image_tokens=config.image_encoder.cache_features,
            from_text_tokens=config.text_encoder.cache_features,
            **{name: getattr(config.model, name) for name in _MODEL_SETTINGS},
        )

    def parts(self, model):
        """Dict of name -> keras.Model: everything of a `DualEncoder` that has weights."""
        names = ("image_encoder", "text_encoder", "image_head", "text_head", "scale")
        return {name: getattr(model, name) for name in names}

    def training_data(self, model, first_step=0, num_workers=1, worker=0):
        """Endless dataset of `(x, y, weight)`; y says nothing: whose a text is follows from its place."""
        return self._text_dataset(model, lambda rows: _whose, first_step, num_workers, worker)

    def loss(self):
        """Function of `CONTRASTIVE_LOSSES`, with its settings."""
        loss = CONTRASTIVE_LOSSES[self.config.retrieval.loss]
        if self.config.retrieval.loss != "hardest_triplet":
            return loss
        margin = self.config.retrieval.margin
        return lambda *arguments: loss(*arguments, margin=margin)

    def embed_images(self, model, image):
        """`(B, height, width, 3)` images of the configured size, 0 to 255, to `(B, E)` float32, L2-normalised."""
        return model.embed_images({"image": tf.cast(image, tf.float32)})

    def embed_texts(self, model, strings):
        """`(B,)` strings to `(B, E)` float32, L2-normalised."""
        return model.embed_texts(self.encode_texts(strings))

    def similarity_scale(self, model):
        """What the cosine of an image and a text is multiplied by in training."""
        vector = tf.zeros((1, self.config.retrieval.embedding_dim))
        return float(np.exp(model.scale(vector)[0]))

    def fingerprint(self, model):
        """64 hexadecimal digits that change with everything that vectors follow from."""
        digest = hashlib.sha256(encoder_fingerprint(model.image_encoder).encode())
        tokens = self.tokenizer.vocab if self.tokenizer.is_learned else self._ids(["a quick brown fox's 12 tails"])
        digest.update(repr((tokens, self.config.data.image_size, self.max_text_length)).encode())
        for name, part in self.parts(model).items():
            if name != "image_encoder":
                for weight in part.weights:
                    digest.update(weight.numpy().tobytes())
        return digest.hexdigest()

    def embed_split(self, model, split, limit=0, progress=None, captions_each=None):
        """Vectors of a split's images and captions.

        Args:
            model: a `DualEncoder`.
            split: name.
            limit: only the first so many images; 0: all.
            progress: called with the number of images that are done.
            captions_each: only the first so many captions of an image; None: all.

        Returns:
            Image vectors `(N, E)`, text vectors `(M, E)`, the `(M,)` places of the texts' images among the N, and the
            `(N,)` indices of these in the source: images that cannot be read or have no caption are left out.
        """
        source = self.source(split)
        count = min(limit or len(source), len(source))
        embed_images = self._functions(model)[0]
        vectors, done = [], 0
        for inputs, indices in self._image_batches(model, split):
            if done >= count:
                break
            vectors.append(embed_images(inputs).numpy())
            done += len(indices)
            if progress is not None:
                progress(min(done, count))
        image = np.concatenate(vectors)[:count]
        unreadable = {name for name, _ in source.quarantine.rows}
        kept = [i for i in range(count) if source.image_ids[i] not in unreadable and source.captions[i]]
        captions = [source.captions[index][:captions_each] for index in kept]
        owner = np.repeat(np.arange(len(kept)), [len(own) for own in captions])
        captions = [caption for own in captions for caption in own]
        return image[kept], self.embed_captions(model, captions), owner, np.array(kept)

    def embed_captions(self, model, captions, progress=None):
        """Vectors of many texts, `(M, E)` float32, L2-normalised, each read no longer than those of its batch.

        Args:
            model: a `DualEncoder`.
            captions: list of M strings.
            progress: called with the number of texts that are done.
        """
        embed_texts = self._functions(model)[1]
        ids = self._ids(captions)
        lengths = np.array([len(text) for text in ids])
        text = np.zeros((len(captions), self.config.retrieval.embedding_dim), np.float32)
        order = np.argsort(lengths, kind="stable")
        for start in range(0, len(order), _TEXTS_AT_ONCE):
            chosen = order[start : start + _TEXTS_AT_ONCE]
            padded = np.zeros((len(chosen), max(int(lengths[chosen].max()), 1)), np.int32)
            for row, number in enumerate(chosen):
                padded[row, : lengths[number]] = ids[number]
            text[chosen] = embed_texts(tf.constant(padded)).numpy()
            if progress is not None:
                progress(start + len(chosen))
        return text

    def caption_memory(self, model, progress=None):
        """`CaptionMemory` of the training split's captions.

        Args:
            model: a `DualEncoder`.
            progress: called with the number of captions that are done.
        """
        source = self.source(self.config.data.train_split)
        rows = [
            (name, caption)
            for name, captions in zip(source.image_ids, source.captions, strict=True)
            for caption in captions
            if caption.strip()
        ]
        image_ids, captions = map(list, zip(*rows, strict=True))
        settings = {name: getattr(self.config.model, name) for name in _MODEL_SETTINGS if name != "num_layers"}
        width = model.image_encoder.output_shape["image_tokens"][-1]
        return CaptionMemory(
            image_ids,
            captions,
            self.embed_captions(model, captions, progress),
            self.similarity_scale(model),
            self.describe_image_encoder(model),
            {"image_width": width, "embedding_dim": self.config.retrieval.embedding_dim, **settings},
            model.image_head.get_weights(),
        )

    def measure(self, model, split, limit=0, progress=None):
        """Recall, median and mean reciprocal rank both ways, as means over folds of 1,000 images where there are more.

        Arguments as of `embed_split`.

        Returns:
            Dict of measures: `image_to_text R@1` and so on, and `mean_recall`, the mean of the six recalls, in percent;
            and what `retrieval_scores` gives.
        """
        image, text, owner, _ = self.embed_split(model, split, limit, progress)
        scores = retrieval_scores(image, text, owner, PROTOCOL)
        return recall_metrics(scores), scores

    def epoch_metrics(self, model, split, limit=0, progress=None, weights=""):
        metrics, scores = self.measure(model, split, limit, progress)
        return metrics, self.signature(scores, split, weights)

    def signature(self, scores, split, weights):
        """Dict that says what measures were taken with."""
        return {
            **describe_data(self.config.data, split),
            **{name: scores[name] for name in ("images", "texts", "folds")},
            "weights": weights,
        }

    def serving_signatures(self, model):
        """What the trained model answers when it is served; the first one is the default."""
        return retrieval_signatures(self, model)

    def _functions(self, model):
        of, functions = self._embed
        if of is not model:
            functions = tuple(
                tf.function(function, reduce_retracing=True, autograph=False)
                for function in (model.embed_images, model.embed_texts)
            )
            self._embed = (model, functions)
        return functions


def recall_metrics(scores):
    """What `retrieval_scores` gives, as one flat dict, with the mean of the six recalls.

    Returns:
        Dict: `mean_recall`; `image_to_text R@1` and so on, in percent; `image_to_text median_rank`, ….
    """
    metrics = {}
    for direction in ("image_to_text", "text_to_image"):
        for name, value in scores[direction].items():
            metrics[f"{direction} {name.replace('recall_at_', 'R@')}"] = value
    recalls = [value for name, value in metrics.items() if "R@" in name]
    return {"mean_recall": sum(recalls) / len(recalls), **metrics}


def _whose(number):
    return tf.zeros_like(number, tf.int32), number >= 0
