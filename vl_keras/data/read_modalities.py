"""Rows of example numbers get what a model reads of each modality: decoded contents, or tokens from a cache."""

import functools
from collections.abc import Mapping

import numpy as np
import tensorflow as tf

from vl_keras.config import DataConfig
from vl_keras.data.examples import Examples, first_numbers
from vl_keras.data.feature_cache import FeatureCache
from vl_keras.data.load_contents import load_contents
from vl_keras.data.modalities import MODALITIES, Modality
from vl_keras.errors import DataError

Features = FeatureCache | Mapping[str, FeatureCache | None] | None


def read_modalities(
    rows: tf.data.Dataset, source: Examples, features: Features, data: DataConfig, augmented: bool = False
) -> tf.data.Dataset:
    """Adds to each row what a model reads beside text.

    Args:
        rows: dataset of dicts with "index" and "view" `(B,)` int64 and, where `augmented`, "seed" and "flip" as in
            `load_contents`.
        source: where the contents come from.
        features: dict of modality -> its `FeatureCache`, or None for the contents themselves. A cache alone stands for
            cached images, None for the images themselves.
        data: `DataConfig`.
        augmented: contents are changed at random as `data.augment` says.

    Returns:
        The dataset with `input_names(features)` and what `readable` asks for. See `Modality` for shapes.

    Raises:
        DataError: an example holds several contents of a modality that is not cached.
    """
    for name, cache in _by_modality(features).items():
        modality = MODALITIES[name]
        if cache is not None:
            rows = rows.map(functools.partial(_with_tokens, modality, cache), num_parallel_calls=tf.data.AUTOTUNE)
            continue
        rows = _with_contents(rows, source, modality, data, augmented)
    return rows


def input_names(features: Features) -> list[str]:
    """Keys that `read_modalities` adds for the model."""
    streams = _by_modality(features).items()
    return [key for name, cache in streams for key in (f"{name}_tokens" if cache else name, f"{name}_mask")]


def readable(row: dict[str, tf.Tensor], features: Features) -> tf.Tensor:
    """`(B,)` bool: False for an example with contents of a modality, none of which can be read."""
    return functools.reduce(tf.logical_and, [row[f"{name}_ok"] for name in _by_modality(features)])


def image_cache(features: Features) -> FeatureCache | None:
    """The `FeatureCache` of the images, where there is one."""
    return _by_modality(features).get("image")


def _by_modality(features: Features) -> Mapping[str, FeatureCache | None]:
    return features if isinstance(features, Mapping) else {"image": features}


def _with_contents(
    rows: tf.data.Dataset, source: Examples, modality: Modality, data: DataConfig, augmented: bool
) -> tf.data.Dataset:
    """Adds the decoded content of each example, zeros where it has none."""
    augment = data.augment if augmented and modality.is_augmented(data.augment) else None
    counts = source.counts(modality.name)
    if (counts == 1).all():
        return load_contents(rows, source, modality, data, augment)
    if (counts > 1).any():
        index = int(np.argmax(counts > 1))
        raise DataError(
            f"`{source.image_ids[index]}` holds {counts[index]} contents of the modality `{modality.name}`; one is the "
            "most where contents are not encoded beforehand. Set `image_encoder.cache_features=true`, which gives "
            "the model the tokens of all of them."
        )
    numbers = tf.constant(np.where(counts == 1, first_numbers(counts), -1))
    key = f"{modality.name}_number"
    rows = rows.map(lambda row: {**row, key: tf.gather(numbers, row["index"])})
    return load_contents(rows, source, modality, data, augment, key)


def _with_tokens(modality: Modality, cache: FeatureCache, row: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
    """Adds the cached tokens of all contents of each example."""
    regions, width = cache.token_shape
    kinds = [tf.float16, tf.bool, tf.bool]
    view = tf.minimum(row["view"], cache.views - 1)  # views are chosen among those of the images
    tokens, mask, ok = tf.numpy_function(cache.read_with_masks, [row["index"], view], kinds)
    tokens.set_shape((row["index"].shape[0], regions, width))
    mask.set_shape(tokens.shape[:2])
    ok.set_shape(row["index"].shape)
    name = modality.name
    return {**row, f"{name}_tokens": tokens, f"{name}_mask": mask, f"{name}_ok": ok}
