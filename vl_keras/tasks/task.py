"""What every task has: its data, its encoders, its vocabulary."""

import contextlib
import dataclasses
import functools
import hashlib
from pathlib import Path

import tensorflow as tf

from vl_keras.data.feature_cache import FeatureCache
from vl_keras.data.image_batches import check_quarantine
from vl_keras.data.pipeline import steps_per_epoch
from vl_keras.data.source import open_source
from vl_keras.data.text_ops import CaptionTokenizer
from vl_keras.encoders.image_encoder import build_image_encoder, encoder_fingerprint
from vl_keras.encoders.text_encoder import load_text_encoder
from vl_keras.errors import DataError
from vl_keras.tasks.described import dataset_name
from vl_keras.tasks.precision import built_in

_VOCABULARY = "vocabulary.txt"


class Task:
    """A job of one `Config`; its subclasses know what is read, built, measured and served.

    A subclass has `monitor`, the development metric that chooses the best epoch, `reads`, a word for what it learns
    from beside images, and

    - `training_texts()`: strings that a vocabulary is learned from;
    - `build()`: the task's models with fresh weights, under the current strategy and precision policy: a named tuple
      with `training_model`, which `fit` trains, and `image_encoder`;
    - `parts(model)`: dict of name -> keras.Model, everything that has weights;
    - `loss()`: of the training model's outputs;
    - `training_data(model, first_step, num_workers, worker)`: endless dataset of `(x, y, weight)` from a batch on;
    - `epoch_measures(model, split, limit, progress, weights)`: dict of measures, and a dict that says how they were
      taken;
    - `serving_signatures(model)`: dict of name -> `ServingSignature`, the default first.

    Args:
        config: `Config`.
        tokenizer: of the texts; None: `text.vocabulary`'s, or one that is learned from the training texts.
        encoder_weights: wins over `image_encoder.weights`: those of a trained run lie in its own folder.
        jit_compile: the model's functions will be compiled with XLA.
    """

    monitor = ""
    reads = "captions"

    def __init__(self, config, tokenizer=None, encoder_weights=None, jit_compile=False):
        self.config = config
        self.text_encoder = None
        self._encoder_weights = encoder_weights or config.image_encoder.weights
        self._jit_compile = jit_compile
        self._sources = {}
        self._features = {}
        if tokenizer is not None:
            self.tokenizer = tokenizer

    @functools.cached_property
    def tokenizer(self):
        text = self.config.text
        if text.vocabulary:
            return CaptionTokenizer.load(text.vocabulary)
        return CaptionTokenizer.learn(self.training_texts(), text.vocab_size)

    def save_vocabularies(self, folder):
        """Writes what was learned from the training texts before any step."""
        self.tokenizer.save(Path(folder) / _VOCABULARY)

    def load_vocabularies(self, folder):
        """Reads what `save_vocabularies` wrote."""
        self.tokenizer = CaptionTokenizer.load(Path(folder) / _VOCABULARY)

    def take_vocabularies(self, task, log):
        """Takes over, and extends, what a task of a trained run learned besides its tokenizer; `log` gets a line."""

    def vocabulary_sizes(self):
        """Lengths that weights' axes have from vocabularies; all of them may grow."""
        return [self.tokenizer.vocab_size]

    def use_metrics(self, metrics):
        """Takes what was fitted to the development split when the weights of a run were measured."""

    def check_data(self):
        """Raises `DataError` where a split that training reads has nothing to learn from or to be measured with."""
        data, task = self.config.data, self.config.task
        for split in (data.train_split, data.dev_split):
            if not self.has_examples(split):
                raise DataError(
                    f"Split `{split}` of {dataset_name(data)} has no {self.reads}, which {task} learns from and is "
                    "measured with; give it some, or choose another task."
                )

    def has_examples(self, split):
        """Whether a split has any of what the task `reads` beside images."""
        return any(self.source(split).captions)

    def source(self, split):
        """The `Source` of a split, prepared on first use."""
        if split not in self._sources:
            self._sources[split] = open_source(self.config.data, split)
        return self._sources[split]

    @contextlib.contextmanager
    def quarantine_errors(self):
        """Inside, a `QuarantineError` that an input pipeline raises comes out as itself: TensorFlow wraps it."""
        try:
            yield
        except tf.errors.OpError:
            for source in self._sources.values():
                check_quarantine(source, self.config.data.max_bad_share)
            raise

    def weights(self, model):
        """What training changes: dict of part -> list of variables; frozen encoders are left out."""
        frozen = []
        if not self.config.image_encoder.trainable_from:
            frozen += model.image_encoder.weights
        if self.text_encoder is not None and not self.config.text_encoder.trainable:
            frozen += self.text_encoder.model.weights
        frozen = {id(variable) for variable in frozen}
        kept = {name: [v for v in part.weights if id(v) not in frozen] for name, part in self.parts(model).items()}
        return {name: variables for name, variables in kept.items() if variables}

    def features(self, model, split):
        """The `FeatureCache` of a split, made on first use; None where images are read themselves."""
        config = self.config
        if not config.image_encoder.cache_features:
            return None
        if split not in self._features:
            source = self.source(split)
            views = config.image_encoder.cache_views if split == config.data.train_split else 1
            fingerprint = encoder_fingerprint(model.image_encoder)
            # Changes to captions do not change the images.
            augment = dataclasses.replace(config.data.augment, synonym=0.0, word_deletion=0.0, word_swap=0.0)
            key = (fingerprint, source.fingerprint, config.data.image_size, views, views > 1 and augment)
            digest = hashlib.sha256(repr(key).encode()).hexdigest()[:16]
            name = config.data.manifest and Path(config.data.manifest).stem or config.data.dataset
            folder = self._data_dir / "features" / f"{name}-{split}-{digest}"
            encode = tf.function(lambda image: model.image_encoder(image, training=False)["image_tokens"])
            self._features[split] = FeatureCache.build_or_open(folder, source, encode, fingerprint, config.data, views)
        return self._features[split]

    def describe_image_encoder(self, model):
        """Dict that is equal for tasks whose models read the same tokens from an image."""
        digest = hashlib.sha256()
        for weight in model.image_encoder.weights:
            digest.update(weight.numpy().astype("float32").tobytes())
        return {
            "backbone": self.config.image_encoder.backbone,
            "weights": digest.hexdigest(),
            "image_size": list(self.config.data.image_size),
        }

    def steps_per_epoch(self):
        """Batches in one pass over the training split."""
        return steps_per_epoch(self.config, self.source(self.config.data.train_split))

    def recalling(self, model):
        """The model as it answers with the memory that the settings name; here the model itself."""
        return model

    def start_fresh(self, model, log):
        """Gives a model that starts from no trained run what it shall know from the first step; here nothing.

        Args:
            model: what `build` made.
            log: called with a line that says what was done.
        """

    @property
    def _data_dir(self):
        return Path(self.config.data.data_dir).expanduser()

    def _build_image_encoder(self):
        config, encoder = self.config, self.config.image_encoder
        # One cache serves runs of every precision.
        with built_in("float32") if encoder.cache_features else contextlib.nullcontext():
            return build_image_encoder(
                encoder.backbone, self._encoder_weights, encoder.trainable_from, config.data.image_size
            )

    def _load_text_encoder(self):
        """The hub BERT that the settings name, kept in `text_encoder`; None where they name none."""
        text = self.config.text_encoder
        if text.encoder:
            self.text_encoder = load_text_encoder(
                text.encoder, text.preprocessor, text.trainable, text.max_length, fixed_shapes=self._jit_compile
            )
        return self.text_encoder
