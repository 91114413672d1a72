"""Batches of images with texts, for the tasks that read both."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import tensorflow as tf

from vl_keras.data.batch_rows import BatchRows
from vl_keras.data.pipeline import evaluation_batches, text_dataset
from vl_keras.data.text_features import TextFeatures
from vl_keras.tasks.image_features import data_dir

if TYPE_CHECKING:
    from vl_keras.tasks.text_task import TextTask

_ENCODED_AT_ONCE = 32  # images
_TOKENIZED_AT_ONCE = 8192


def training_batches(
    task: TextTask,
    model: Any,
    label: Callable[[BatchRows], Callable],
    first_step: int,
    num_workers: int,
    worker: int,
    negatives: int,
    neighbours: np.ndarray | None,
) -> tf.data.Dataset:
    """`text_dataset` of a task's training split.

    Args:
        task: supplies the source and the settings.
        model: what the task built.
        label: maps the `BatchRows` to the function of text numbers that `text_dataset` takes.
        first_step, num_workers, worker: see `text_dataset`.
        negatives, neighbours: how texts of other images are chosen; see `BatchRows`.
    """
    config = task.config
    split = config.data.train_split
    source, features = task.source(split), task.features(model, split)
    rows = BatchRows(config, source, task.tokenizer, True, features, task.texts(split), negatives, neighbours)
    return text_dataset(
        config,
        source,
        rows,
        label(rows),
        first_step=first_step,
        end_step=task.end_step,
        features=features,
        read_tokens=_token_reader(task, model, list(rows.texts)),
        inputs=model.training_model.input_names,
        num_workers=num_workers,
        worker=worker,
    )


def image_batches(task: TextTask, model: Any, split: str) -> Iterator[tuple[dict[str, tf.Tensor], np.ndarray]]:
    """Yields `(inputs, indices)` of a split, in order; `inputs` has "image" or "image_tokens" of a few images."""
    batches = evaluation_batches(
        task.config, task.source(split), features=task.features(model, split), batch_size=_ENCODED_AT_ONCE
    )
    for inputs, indices in batches:
        yield inputs, np.asarray(indices)


def text_features(task: TextTask, model: Any, texts: Sequence[str]) -> TextFeatures:
    """`TextFeatures` of a list of texts under the frozen `text_encoder` of a model."""
    encode = tf.function(
        lambda ids: model.text_encoder(ids, training=False)["text_tokens"],
        input_signature=[tf.TensorSpec((None, None), tf.int32)],
    )
    digest = hashlib.sha256()
    for weight in model.text_encoder.weights:
        digest.update(weight.numpy().tobytes())
    return TextFeatures.build_or_open(data_dir(task.config), ids_of_texts(task, texts), encode, digest.hexdigest())


def ids_of_texts(task: TextTask, texts: Sequence[str]) -> list[np.ndarray]:
    """The ids of each text, without padding."""
    ids = []
    for start in range(0, len(texts), _TOKENIZED_AT_ONCE):
        padded = task.encode_texts(tf.constant(list(texts[start : start + _TOKENIZED_AT_ONCE]), tf.string)).numpy()
        ids += [row[row != 0] for row in padded]
    return ids


def _token_reader(task: TextTask, model: Any, texts: Sequence[str]) -> Callable | None:
    """Function of text numbers to tokens and mask, in graph; None if the model reads ids."""
    if not task.config.text_encoder.cache_features:
        return None
    features = task.text_features(model, texts)

    def read(numbers: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        tokens, mask = tf.numpy_function(features.read, [numbers], [tf.float16, tf.bool])
        tokens.set_shape((*numbers.shape, None, features.width))
        mask.set_shape((*numbers.shape, None))
        return tokens, mask

    return read
