"""Batches of numbers become batches of decoded contents, where a content that cannot be read costs itself only."""

import contextlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from vl_keras.config import AugmentConfig, DataConfig
from vl_keras.data.examples import Examples
from vl_keras.data.modalities import Modality

_BATCHES_AT_ONCE = 16  # the most batches decoded side by side; each takes one thread


def load_contents(
    rows: tf.data.Dataset,
    source: Examples,
    modality: Modality,
    data: DataConfig,
    augment: AugmentConfig | None = None,
    number: str = "index",
) -> tf.data.Dataset:
    """Reads, decodes and augments contents of a modality in parallel, in order.

    A content that is empty, broken or refused by `modality.check` (told before it is decoded) becomes zeros with its
    mask False, and goes to `source.quarantine` with its name and the reason.

    Args:
        rows: dataset of dicts with the contents' numbers `(B,)` int64, -1 for no content, and, where `augment` is
            given, "seed" `(B, 2)` int32 and "flip" `(B,)` bool; B may differ from batch to batch; whatever else is in
            them is passed on.
        source: where the bytes come from.
        modality: what is read.
        data: `DataConfig`, for the modality and for `max_bad_share`.
        augment: `AugmentConfig`, or None for the plain content.
        number: key of the numbers in a row.

    Returns:
        The dataset with three keys added, where `<name>` is the modality's: `<name>` `(B, …)`, `<name>_mask` `(B,)`
        bool, or `(B, T)` where contents differ in length, and `<name>_ok` `(B,)` bool, False for what cannot be read
        and True for no content. Its iterator raises where more than `data.max_bad_share` of the source's contents
        cannot be used.
    """
    name, spec, varies = modality.name, modality.value_spec(data), modality.varies(data)
    empty = tf.zeros([size or 0 for size in spec.shape], spec.dtype)

    def read_one(content: tf.Tensor, seed: tf.Tensor, flip: tf.Tensor, numbers: tf.Tensor) -> tf.Tensor:
        header: dict[str, Any] = {"header": numbers, "usual": True} if modality.header_size else {}
        if augment is None:
            return modality.decode(content, data, **header)
        return modality.decode_augmented(content, seed, flip, data, augment, **header)

    def read_ready(contents: tf.Tensor) -> tf.Tensor:
        return tf.map_fn(lambda content: modality.decode_ready(content, data), contents, fn_output_signature=spec)

    def read(numbers: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.bool_]:
        return _read(source, modality, data, numbers, augment is None and not varies)

    def batch(row: dict[str, tf.Tensor]) -> tf.data.Dataset:
        # TensorFlow's decoders raise on bad bytes, and a graph cannot catch; a dataset can. So each batch is a dataset
        # of its own, whose failing elements are left out, and the places of those that are left tell which are missing.
        content, header, ready = tf.numpy_function(read, [row[number]], [tf.string, tf.int64, tf.bool])
        content.set_shape(row[number].shape)
        header.set_shape((row[number].shape[0], modality.header_size))
        count = tf.shape(content)[0]
        seed = row.get("seed", tf.zeros((count, 2), tf.int32))
        flip = row.get("flip", tf.zeros((count,), tf.bool))
        decoded = tf.data.Dataset.from_tensor_slices((tf.range(count), content, seed, flip, header))
        decoded = decoded.map(lambda place, *args: _measured(place, read_one(*args), varies)).ignore_errors()
        none = tf.nest.map_structure(lambda part: part[:0], _measured(tf.zeros((1,), tf.int32), empty[None], varies))
        together = decoded.padded_batch if varies else decoded.batch
        decoded = together(tf.cast(count, tf.int64)).concatenate(tf.data.Dataset.from_tensors(none))
        if augment is None and not varies:
            # Contents that need decoding only are decoded by one call: starting one for each costs a tenth of decoding.
            # Where that fails, the batch is read one by one.
            whole = tf.data.Dataset.from_tensors(content).take(tf.cast(tf.reshape(ready, ()), tf.int64))
            whole = whole.map(lambda content: (tf.range(count), read_ready(content))).ignore_errors()
            decoded = whole.concatenate(decoded)
        return tf.data.Dataset.zip((tf.data.Dataset.from_tensors(row), decoded.take(1)))

    def complete(row: dict[str, tf.Tensor], decoded: tuple[tf.Tensor, ...]) -> dict[str, tf.Tensor]:
        places, values, *lengths = decoded
        count = tf.shape(row[number])[0]

        def placed(part: tf.Tensor) -> tf.Tensor:
            return tf.scatter_nd(places[:, tf.newaxis], part, tf.concat([[count], tf.shape(part)[1:]], axis=0))

        def with_gaps() -> tuple[tf.Tensor, ...]:
            got = placed(tf.ones_like(places, tf.bool))
            wanted = row[number] >= 0
            missing = tf.boolean_mask(row[number], wanted & ~got)
            noted = tf.numpy_function(lambda numbers: _quarantine(source, modality, data, numbers), [missing], tf.bool)
            with tf.control_dependencies([noted]):
                return placed(values), got, got | ~wanted, *map(placed, lengths)

        def without_gaps() -> tuple[tf.Tensor, ...]:
            everything = tf.ones((count,), tf.bool)
            return values, everything, everything, *lengths

        whole = tf.logical_and(tf.size(places) == count, tf.reduce_all(places == tf.range(tf.size(places))))
        values, mask, ok, *lengths = tf.cond(whole, without_gaps, with_gaps)
        if varies:
            values = _at_least_one(values)
            mask = tf.sequence_mask(lengths[0], tf.shape(values)[1])
        values.set_shape((row[number].shape[0], *spec.shape))
        mask.set_shape(values.shape[:2] if varies else row[number].shape)
        ok.set_shape(row[number].shape)
        return {**row, name: values, f"{name}_mask": mask, f"{name}_ok": ok}

    loaded = rows.interleave(
        batch, cycle_length=_BATCHES_AT_ONCE, block_length=1, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True
    )
    return loaded.map(complete)


def load_content(content: bytes, modality: Modality, data: DataConfig) -> tuple[tf.Tensor | None, str]:
    """One content's bytes, read as `load_contents` reads them, at once.

    Args:
        content: bytes.
        modality: what they are.
        data: `DataConfig`, for the modality.

    Returns:
        The decoded content and an empty string; or None and why it cannot be read.
    """
    header = modality.header(content)
    reason = modality.check(content, data, **_keyword(modality, header))[0] if content else modality.empty
    if reason is None:
        try:
            return modality.decode(tf.constant(content), data, **_keyword(modality, tf.constant(header))), ""
        except tf.errors.OpError:
            # Whatever the decoder says, this is said, because a served row cannot say more.
            reason = modality.damaged_reasons(tf.constant([content])).numpy()[0].decode()
    return None, reason


def _keyword(modality: Modality, header: Any) -> dict[str, Any]:
    return {"header": header} if modality.header_size else {}


def _measured(place: tf.Tensor, value: tf.Tensor, varies: bool) -> tuple[tf.Tensor, ...]:
    """A place and what stands there; with its length where contents differ in it."""
    return (place, value, tf.fill(tf.shape(place), tf.shape(value)[tf.rank(place)])) if varies else (place, value)


def _at_least_one(values: tf.Tensor) -> tf.Tensor:
    """`(B, T, …)` with T of at least 1: a batch of nothing at all still has something to be masked."""
    short = tf.maximum(1 - tf.shape(values)[1], 0)
    return tf.pad(values, [[0, 0], [0, short], *[[0, 0]] * (len(values.shape) - 2)])


def _read(
    source: Examples, modality: Modality, data: DataConfig, numbers: np.ndarray, plain: bool
) -> tuple[np.ndarray, np.ndarray, np.bool_]:
    """Bytes of contents, b"" for those that cannot be decoded; their headers; whether all need decoding only."""
    contents, ready = np.full(len(numbers), b"", object), plain
    headers = np.zeros((len(numbers), modality.header_size), np.int64)
    places = np.flatnonzero(numbers >= 0)
    for place, content in zip(places, source.read(modality.name, numbers[places]), strict=True):
        fault: str | None = modality.empty
        is_ready = False
        if content:
            headers[place] = modality.header(content)
            fault, is_ready = modality.check(content, data, **_keyword(modality, headers[place]))
        if fault is None:
            with contextlib.suppress(tf.errors.OpError):  # it is tried again for the quarantine
                contents[place] = modality.usual_form(content, headers[place])
        ready = ready and is_ready
    return contents, headers, np.bool_(ready and len(places) == len(numbers))


def _quarantine(source: Examples, modality: Modality, data: DataConfig, numbers: Sequence[int]) -> np.bool_:
    """Says of each content that gave nothing why; raises above the share that is allowed."""
    names = source.names(modality.name)
    numbers = [number for number in numbers if names[number] not in source.quarantine]
    for number, content in zip(numbers, source.read(modality.name, numbers), strict=True):
        _, reason = load_content(content, modality, data)
        source.quarantine.add(names[number], reason or "decoded once but not another time")
    source.check_quarantine(data.max_bad_share)
    return np.True_
