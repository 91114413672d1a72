"""Captioning: pictures, with a context beside them or not, to sentences."""

import dataclasses
import functools
import hashlib
from pathlib import Path
from typing import NamedTuple

import tensorflow as tf
import tf_keras as keras

from vl_keras.config import ConfigError
from vl_keras.data.feature_cache import FeatureCache
from vl_keras.data.pipeline import caption_dataset, evaluation_batches, references, steps_per_epoch
from vl_keras.data.source import open_source
from vl_keras.data.text_ops import CaptionTokenizer
from vl_keras.encoders.image_encoder import build_image_encoder, encoder_fingerprint
from vl_keras.encoders.text_encoder import load_text_encoder
from vl_keras.losses.caption_loss import CaptionLoss
from vl_keras.metrics.caption_scores import score_captions
from vl_keras.models.captioner import build_captioner
from vl_keras.tasks.caption_signatures import caption_signatures
from vl_keras.tasks.caption_writer import CaptionWriter

_WRITTEN_AT_ONCE = 64  # pictures whose captions are written side by side


class Caption(NamedTuple):
    """What was written for one picture.

    Attributes:
        image_id: of the source.
        caption: the best one.
        score: its length-normalised log-probability.
        captions: all `generation.num_captions`, best first.
        references: people's captions that it is scored against.
        context: what the model was shown beside the picture.
        index: place in the source.
    """

    image_id: str
    caption: str
    score: float
    captions: list
    references: list
    context: str
    index: int


class CaptioningTask:
    """The captioning job of one `Config`.

    Args:
        config: `Config`.
        tokenizer: of the captions; None: `text.vocabulary`'s, or one that is learned from the training captions.
        encoder_weights: wins over `image_encoder.weights`: those of a trained run lie in its own folder.
        jit_compile: the model's functions will be compiled with XLA.
    """

    def __init__(self, config, tokenizer=None, encoder_weights=None, jit_compile=False):
        self.config = config
        self.text_encoder = None
        self._encoder_weights = encoder_weights or config.image_encoder.weights
        self._jit_compile = jit_compile
        self._sources = {}
        self._features = {}
        self._writer = (None, None, None)
        if tokenizer is not None:
            self.tokenizer = tokenizer

    @functools.cached_property
    def tokenizer(self):
        text = self.config.text
        if text.vocabulary:
            return CaptionTokenizer.load(text.vocabulary)
        return CaptionTokenizer.learn(self.training_captions(), text.vocab_size)

    def training_captions(self):
        """Every caption of the training split, as written."""
        source = self.source(self.config.data.train_split)
        return [caption for captions in source.captions for caption in captions]

    def source(self, split):
        """The `Source` of a split, prepared on first use."""
        if split not in self._sources:
            self._sources[split] = open_source(self.config.data, split)
        return self._sources[split]

    def build(self):
        """A `Captioner` with fresh weights, under the current strategy and precision policy."""
        config = self.config
        encoder = config.image_encoder
        policy = keras.mixed_precision.global_policy()
        if encoder.cache_features:  # one cache serves runs of every precision
            keras.mixed_precision.set_global_policy("float32")
        try:
            image_encoder = build_image_encoder(
                encoder.backbone, self._encoder_weights, encoder.trainable_from, config.data.image_size
            )
        finally:
            keras.mixed_precision.set_global_policy(policy)
        if config.text_encoder.encoder:
            text = config.text_encoder
            self.text_encoder = load_text_encoder(
                text.encoder, text.preprocessor, text.trainable, text.max_length, fixed_shapes=self._jit_compile
            )
        return build_captioner(
            image_encoder,
            self.tokenizer.vocab_size,
            text_encoder=self.text_encoder and self.text_encoder.model,
            max_length=config.text.max_length,
            from_image_tokens=encoder.cache_features,
            **dataclasses.asdict(config.model),
        )

    def weights(self, captioner):
        """What training changes: dict of part -> list of variables; frozen encoders are left out."""
        frozen = []
        if not self.config.image_encoder.trainable_from:
            frozen += captioner.image_encoder.weights
        if self.text_encoder is not None and not self.config.text_encoder.trainable:
            frozen += self.text_encoder.model.weights
        frozen = {id(variable) for variable in frozen}
        parts = {
            "image_encoder": captioner.image_encoder,
            "reader": captioner.reader,
            "decoder": captioner.decoder.model,
        }
        kept = {name: [v for v in model.weights if id(v) not in frozen] for name, model in parts.items()}
        return {name: variables for name, variables in kept.items() if variables}

    def features(self, captioner, split):
        """The `FeatureCache` of a split, made on first use; None where pictures are read themselves."""
        config = self.config
        if not config.image_encoder.cache_features:
            return None
        if split not in self._features:
            source = self.source(split)
            views = config.image_encoder.cache_views if split == config.data.train_split else 1
            fingerprint = encoder_fingerprint(captioner.image_encoder)
            # Changes to captions do not change the pictures.
            augment = dataclasses.replace(config.data.augment, synonym=0.0, word_deletion=0.0, word_swap=0.0)
            key = (fingerprint, source.fingerprint, config.data.image_size, views, views > 1 and augment)
            digest = hashlib.sha256(repr(key).encode()).hexdigest()[:16]
            name = config.data.manifest and Path(config.data.manifest).stem or config.data.dataset
            folder = Path(config.data.data_dir).expanduser() / "features" / f"{name}-{split}-{digest}"
            encode = tf.function(lambda image: captioner.image_encoder(image, training=False)["image_tokens"])
            self._features[split] = FeatureCache.build_or_open(folder, source, encode, fingerprint, config.data, views)
        return self._features[split]

    def steps_per_epoch(self):
        """Batches in one pass over the training split."""
        return steps_per_epoch(self.config, self.source(self.config.data.train_split))

    def training_data(self, captioner, first_step=0, num_workers=1, worker=0):
        """Endless dataset of `(x, y, weight)` from batch `first_step` on; see `caption_dataset`."""
        split = self.config.data.train_split
        return caption_dataset(
            self.config,
            self.source(split),
            self.tokenizer,
            training=True,
            first_step=first_step,
            features=self.features(captioner, split),
            prepare_context=self._prepare_context,
            num_workers=num_workers,
            worker=worker,
        )

    def evaluation_data(self, captioner, split, batch_size=_WRITTEN_AT_ONCE):
        """Dataset of `(x, indices)`: every picture of a split once, in order."""
        config = dataclasses.replace(self.config, data=dataclasses.replace(self.config.data, batch_size=batch_size))
        features = self.features(captioner, split)
        return evaluation_batches(config, self.source(split), features=features, prepare_context=self._prepare_context)

    def loss(self):
        return CaptionLoss(self.config.training.label_smoothing)

    def generation_settings(self, generation=None):
        """Arguments of `generate` for a `GenerationConfig`, by default the config's own."""
        generation = generation or self.config.generation
        if generation.max_length > self.config.text.max_length:
            raise ConfigError(
                "`generation.max_length` must be at most `text.max_length`, the longest caption the model is made for; "
                f"got {generation.max_length} and {self.config.text.max_length}."
            )
        ids = CaptionTokenizer
        return {
            **dataclasses.asdict(generation),
            "start_id": ids.START,
            "end_id": ids.END,
            "forbidden_ids": (ids.PAD, ids.UNK, ids.START),
        }

    def caption_split(self, captioner, split, generation=None, limit=0, progress=None):
        """Writes a caption for each picture of a split.

        Args:
            captioner: a `Captioner` that `build` made.
            split: name.
            generation: `GenerationConfig`; None: the config's.
            limit: only the first so many pictures; 0: all.
            progress: called with the number of pictures that are done.

        Returns:
            List of `Caption`, without the pictures that could not be read.
        """
        source = self.source(split)
        count = min(limit, len(source)) if limit else len(source)
        batches = self.evaluation_data(captioner, split)
        rows = self.writer(captioner, generation).write_all(batches, count, progress)
        known, contexts = references(self.config, source)
        unreadable = {name for name, _ in source.quarantine.rows}
        captions = []
        for index, texts, scores in rows:
            name = source.image_ids[index]
            if name in unreadable:
                continue
            captions.append(Caption(name, texts[0], float(scores[0]), texts, known[name], contexts[index], index))
        return captions

    def measure(self, captioner, split, generation=None, limit=0, progress=None, with_java=False):
        """`CaptionScores` of the captions written for a split, and the `Caption`s; arguments as `caption_split`."""
        captions = self.caption_split(captioner, split, generation, limit, progress)
        scored = [caption for caption in captions if caption.references]
        scores = score_captions(
            {caption.image_id: caption.references for caption in scored},
            {caption.image_id: caption.caption for caption in scored},
            with_java=with_java,
        )
        return scores, captions

    def serving_signatures(self, captioner):
        """What the trained captioner answers when it is served; the first one is the default."""
        return caption_signatures(self, captioner)

    def writer(self, captioner, generation=None):
        """The `CaptionWriter` of these settings; the last one is kept, so that its graph is built once."""
        settings = self.generation_settings(generation)
        of, with_settings, writer = self._writer
        if of is not captioner or with_settings != settings:
            writer = CaptionWriter(captioner, self.tokenizer, settings, _WRITTEN_AT_ONCE, self._jit_compile)
            self._writer = (captioner, settings, writer)
        return writer

    @property
    def _prepare_context(self):
        return self.text_encoder.preprocess if self.text_encoder is not None else None
