"""What the tasks share that read texts beside images: questions, sentences, captions."""

import functools
import hashlib

import numpy as np
import tensorflow as tf

from vl_keras.data.batch_rows import BatchRows
from vl_keras.data.pipeline import evaluation_batches, text_dataset
from vl_keras.data.text_features import TextFeatures
from vl_keras.data.text_ops import CaptionTokenizer
from vl_keras.encoders.hub_tokenizer import HubTokenizer
from vl_keras.encoders.text_model import hub_text_model, small_text_model
from vl_keras.tasks.task import Task

_ENCODED_AT_ONCE = 32  # images
_TOKENIZED_AT_ONCE = 8192


class TextTask(Task):
    """A task whose models read images and texts; see `Task`.

    A subclass also has `texts(split)`: a list of strings for each image of a split.
    """

    @functools.cached_property
    def tokenizer(self):
        if self.config.text_encoder.encoder:
            return HubTokenizer(self.text_encoder or self._load_text_encoder())
        text = self.config.text
        if text.vocabulary:
            return CaptionTokenizer.load(text.vocabulary)
        return CaptionTokenizer.learn(self.training_texts(), text.vocab_size)

    def save_vocabularies(self, folder):
        if self.tokenizer.is_learned:
            super().save_vocabularies(folder)

    def load_vocabularies(self, folder):
        if not self.config.text_encoder.encoder:
            super().load_vocabularies(folder)

    def vocabulary_sizes(self):
        return [self.tokenizer.vocab_size] if self.tokenizer.is_learned else []

    def training_texts(self):
        return [text for texts in self.texts(self.config.data.train_split) for text in texts]

    @property
    def max_text_length(self):
        """Tokens of the longest text that is read whole."""
        return self.tokenizer.max_length or self.config.text.max_length

    def encode_texts(self, strings):
        """`(P,)` strings to `(P, max_text_length)` int32 ids, in graph."""
        tokenizer = self.tokenizer
        return tokenizer.encode(tokenizer.tidy(strings), self.max_text_length)

    def _build_text_model(self):
        if self.config.text_encoder.encoder:
            return hub_text_model(self.text_encoder or self._load_text_encoder())
        model = self.config.model
        return small_text_model(
            self.tokenizer.vocab_size,
            model.hidden_dim,
            model.num_heads,
            self.config.text_encoder.num_layers,
            model.intermediate_dim,
            model.dropout,
            self.max_text_length,
        )

    def _text_dataset(self, model, label, first_step, num_workers, worker, negatives=0, neighbours=None):
        """`text_dataset` of the training split; `label` is called with its `BatchRows` and gives the function."""
        config = self.config
        split = config.data.train_split
        source, features = self.source(split), self.features(model, split)
        rows = BatchRows(config, source, self.tokenizer, True, features, self.texts(split), negatives, neighbours)
        return text_dataset(
            config,
            source,
            rows,
            label(rows),
            first_step=first_step,
            features=features,
            read_tokens=self._token_reader(model, rows.texts),
            num_workers=num_workers,
            worker=worker,
        )

    def _token_reader(self, model, texts):
        """Function of text numbers to tokens and mask, in graph; None where the model reads ids."""
        if not self.config.text_encoder.cache_features:
            return None
        features = self.text_features(model, texts)

        def read(numbers):
            tokens, mask = tf.numpy_function(features.read, [numbers], [tf.float16, tf.bool])
            tokens.set_shape((*numbers.shape, None, features.width))
            mask.set_shape((*numbers.shape, None))
            return tokens, mask

        return read

    def text_features(self, model, texts):
        """`TextFeatures` of a list of texts under the frozen text encoder."""
        encode = tf.function(
            lambda ids: model.text_encoder(ids, training=False),
            input_signature=[tf.TensorSpec((None, None), tf.int32)],
        )
        digest = hashlib.sha256()
        for weight in model.text_encoder.weights:
            digest.update(weight.numpy().tobytes())
        return TextFeatures.build_or_open(self._data_dir, self._ids(texts), encode, digest.hexdigest())

    def _ids(self, texts):
        """List of int arrays: the ids of each text, without padding."""
        ids = []
        for start in range(0, len(texts), _TOKENIZED_AT_ONCE):
            padded = self.encode_texts(tf.constant(list(texts[start : start + _TOKENIZED_AT_ONCE]), tf.string)).numpy()
            ids += [row[row != 0] for row in padded]
        return ids

    def _image_batches(self, model, split):
        """Yields `(inputs, indices)` of a split, in order: "image" or "image_tokens" for a few images each."""
        batches = evaluation_batches(
            self.config,
            self.source(split),
            features=self.features(model, split),
            batch_size=_ENCODED_AT_ONCE,
        )
        for inputs, indices in batches:
            yield inputs, np.asarray(indices)
