"""Examples become batches: `config -> tf.data.Dataset`, in an order that follows from `(seed, step)` alone."""

from collections.abc import Callable, Collection, Mapping

import numpy as np
import tensorflow as tf

from vl_keras.config import Config
from vl_keras.data.batch_rows import BatchRows
from vl_keras.data.caption_words import content_words, set_aside_caption
from vl_keras.data.read_modalities import Features, image_cache, input_names, read_modalities, readable
from vl_keras.data.source import Source
from vl_keras.data.text_ops import CaptionTokenizer
from vl_keras.errors import ConfigError

Row = dict[str, tf.Tensor]
ContextReader = Callable[[tf.Tensor], Mapping[str, tf.Tensor]]


def steps_per_epoch(config: Config, source: Source) -> int:
    """Batches in one pass over `source`; raises `ConfigError` where it has too few images for one."""
    steps = len(source) // config.data.batch_size
    if not steps:
        raise ConfigError(
            f"`data.batch_size` is {config.data.batch_size}, but split {source.split!r} has only {len(source)} images; "
            "set `data.batch_size` to at most that."
        )
    return steps


def caption_dataset(
    config: Config,
    source: Source,
    tokenizer: CaptionTokenizer,
    *,
    training: bool,
    first_step: int = 0,
    end_step: int | None = None,
    features: Features = None,
    prepare_context: ContextReader | None = None,
    inputs: Collection[str] | None = None,
    num_workers: int = 1,
    worker: int = 0,
) -> tf.data.Dataset:
    """Batches of images with their captions.

    In training an endless stream: step `n` is batch `n % steps_per_epoch` of epoch `n // steps_per_epoch`, whichever
    step the stream begins with, augmentation included. Otherwise one pass in the order of `source`, nothing random, the
    last batch smaller. An image that cannot be read is zeros with weight 0.

    Args:
        config: `Config`; the order follows from `training.seed`.
        source: a `Source`.
        tokenizer: a `CaptionTokenizer`.
        training: shuffled, augmented and endless; or plain.
        first_step: step that a training stream begins with.
        end_step: step before which a training stream ends; None: it is endless.
        features: what is read of which modality; see `read_modalities`. None: images; a `FeatureCache`: its tokens.
        prepare_context: `(B,)` context strings -> dict of tensors for the text encoder.
        inputs: names of the model's inputs, which x is limited to; None: everything.
        num_workers, worker: each worker of several gets its rows of every batch.

    Returns:
        Dataset of `(x, y, weight)`. x: of each modality what `Modality` says, e.g. "image" `(B, height, width, 3)`
        uint8 with "image_mask" `(B,)` bool, or "image_tokens" `(B, R, D)` float16 with "image_mask" `(B, R)` bool;
        "caption_ids" `(B, K, L)` int32, start token and caption; what `prepare_context` gives. y: `(B, K, L)` int32,
        caption and end token, then padding. weight: `(B, K, L)` float32, 0 on padding, scaled so that the mean of
        weight * loss over all workers' elements is the mean loss of the tokens of the whole batch. Across several
        workers an unreadable image's tokens still count in that mean, since the others do not know of it.

    Raises:
        ConfigError: the batch size suits neither the source nor the number of workers.
    """
    size = config.data.batch_size
    batch_rows = BatchRows(config, source, tokenizer, training, image_cache(features))
    if training:
        steps_per_epoch(config, source)
        steps = _steps(first_step, end_step)
    else:
        steps = tf.data.Dataset.range(-(-len(source) // size))
    mine = _rows_of(size, num_workers, worker)

    def batch(row: Row) -> tuple[Row, tf.Tensor, tf.Tensor]:
        target = row["target"]
        weight = _mean_weights(target != 0, readable(row, features), mine)
        target = target[mine]
        x = {**_inputs(row, features), "caption_ids": _shift(tokenizer, target)}
        if prepare_context is not None:
            x.update(prepare_context(row["context"]))
        return _only(x, inputs), target, weight

    rows = steps.map(lambda step: batch_rows.at(step, mine))
    return _batches(read_modalities(rows, source, features, config.data, augmented=training), batch)


def text_dataset(
    config: Config,
    source: Source,
    batch_rows: BatchRows,
    label: Callable[[tf.Tensor], tuple[tf.Tensor, tf.Tensor]],
    *,
    first_step: int = 0,
    end_step: int | None = None,
    features: Features = None,
    read_tokens: Callable[[tf.Tensor], tuple[tf.Tensor, tf.Tensor]] | None = None,
    inputs: Collection[str] | None = None,
    num_workers: int = 1,
    worker: int = 0,
) -> tf.data.Dataset:
    """Training batches of images with K texts each, in an order that follows from `(seed, step)`.

    Args:
        config: `Config`.
        source: a `Source`.
        batch_rows: `BatchRows` of the source's images and of the texts.
        label: `(number (B, K)) -> (y, real (B, K) bool)`: what is to be learned about the texts with these numbers, and
            which of them count.
        first_step, end_step, features, inputs, num_workers, worker: as in `caption_dataset`.
        read_tokens: `number (B, K) -> (tokens (B, K, T, D), mask (B, K, T))` from a cache; None: the model reads ids.

    Returns:
        Dataset of `(x, y, weight)`. x: of each modality as in `caption_dataset`; "text_ids" `(B, K, T)` int32, or
        "text_tokens" and "text_mask". weight: `(B, K)` float32, 0 where there is no text or its image cannot be
        read, scaled so that the mean of weight * loss over all workers is the mean loss of the texts that count.
    """
    mine = _rows_of(config.data.batch_size, num_workers, worker)
    steps_per_epoch(config, source)

    def batch(row: Row) -> tuple[Row, tf.Tensor, tf.Tensor]:
        y, real = label(row["number"])
        weight = _mean_weights(real, readable(row, features), mine)
        x = _inputs(row, features)
        if read_tokens is None:
            x["text_ids"] = row["target"][mine]
        else:
            x["text_tokens"], x["text_mask"] = read_tokens(row["number"][mine])
        return _only(x, inputs), tf.nest.map_structure(lambda value: value[mine], y), weight

    rows = _steps(first_step, end_step).map(lambda step: batch_rows.at(step, mine))
    return _batches(read_modalities(rows, source, features, config.data, augmented=True), batch)


def _steps(first: int, end: int | None) -> tf.data.Dataset:
    return tf.data.Dataset.counter(first) if end is None else tf.data.Dataset.range(first, end)


def _rows_of(batch_size: int, num_workers: int, worker: int) -> slice:
    """The slice of every batch that a worker reads."""
    if batch_size % num_workers:
        raise ConfigError(
            f"`data.batch_size` must be divisible by the number of workers; got {batch_size} and {num_workers}."
        )
    share = batch_size // num_workers
    return slice(worker * share, (worker + 1) * share) if num_workers > 1 else slice(None)


def _batches(rows: tf.data.Dataset, batch: Callable[[Row], tuple]) -> tf.data.Dataset:
    options = tf.data.Options()
    options.deterministic = True
    # Each worker already takes its own rows.
    options.experimental_distribute.auto_shard_policy = tf.data.experimental.AutoShardPolicy.OFF
    batches = rows.map(batch, num_parallel_calls=tf.data.AUTOTUNE)
    return batches.prefetch(tf.data.AUTOTUNE).with_options(options)


def evaluation_batches(
    config: Config,
    source: Source,
    *,
    features: Features = None,
    prepare_context: ContextReader | None = None,
    batch_size: int = 0,
) -> tf.data.Dataset:
    """Every example once, in the order of `source`: dataset of `(x, indices)`, the last batch smaller.

    x is as in `caption_dataset` without "caption_ids", indices `(B,)` int64. An image that cannot be read is zeros with
    its mask False, and is named in `source.quarantine`.
    """
    _, contexts = references(config, source)
    rows = tf.data.Dataset.from_tensor_slices(
        {"index": np.arange(len(source)), "context": [text.encode("utf-8") for text in contexts]}
    )
    rows = rows.batch(batch_size or config.data.batch_size)
    rows = rows.map(lambda row: {**row, "view": tf.zeros_like(row["index"])})
    rows = read_modalities(rows, source, features, config.data)

    def batch(row: Row) -> tuple[Row, tf.Tensor]:
        context = prepare_context(row["context"]) if prepare_context is not None else {}
        return {**_inputs(row, features), **context}, row["index"]

    return rows.map(batch, num_parallel_calls=tf.data.AUTOTUNE).prefetch(tf.data.AUTOTUNE)


def references(config: Config, source: Source) -> tuple[dict[str, list[str]], list[str]]:
    """What candidates are scored against, and what models are shown beside the image.

    With `data.context` caption_words, the content words of one caption of each image are its context, and that caption
    is no reference, also where `data.show_context` is false, so that both are scored against the same captions.

    Returns:
        Dict of image id -> its reference captions, and the list of context strings in the order of `source`.
    """
    captions, contexts = {}, []
    for index, image_id in enumerate(source.image_ids):
        own = list(source.captions[index])
        context = source.contexts[index] if config.data.context == "field" else ""
        if config.data.context == "caption_words":
            aside = set_aside_caption(image_id, len(own))
            context = content_words(own.pop(aside)) if aside >= 0 else ""
        captions[image_id] = own
        contexts.append(context if config.data.show_context else "")
    return captions, contexts


def _inputs(row: Row, features: Features) -> Row:
    return {name: row[name] for name in input_names(features)}


def _only(x: Row, names: Collection[str] | None) -> Row:
    return x if names is None else {name: value for name, value in x.items() if name in names}


def _shift(tokenizer: CaptionTokenizer, target: tf.Tensor) -> tf.Tensor:
    """`(B, K, L)` targets -> what the decoder reads to write them: start token, caption, padding."""
    before = tf.where(target == tokenizer.END, tokenizer.PAD, target)[:, :, :-1]
    start = tf.where(target[:, :, :1] == tokenizer.PAD, tokenizer.PAD, tokenizer.START)
    return tf.concat([start, before], axis=-1)


def _mean_weights(real: tf.Tensor, ok: tf.Tensor, mine: slice) -> tf.Tensor:
    """float32 weights of the rows that are `mine`, whose mean over the whole batch is 1; `real` is `(B, K, …)` bool."""
    ok = tf.reshape(ok, (-1,) + (1,) * (len(real.shape) - 1))
    if mine == slice(None):
        real &= ok
        kept = real
    else:
        kept = real[mine] & ok
    scale = tf.size(real) / tf.maximum(tf.math.count_nonzero(real, dtype=tf.int32), 1)
    return tf.cast(kept, tf.float32) * tf.cast(scale, tf.float32)
