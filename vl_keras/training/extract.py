"""Writes the feature cache of an experiment before training."""

import dataclasses
from collections.abc import Sequence

from vl_keras.config import Config, check_config
from vl_keras.data.feature_cache import FeatureCache
from vl_keras.runs.strategy import keras_settings
from vl_keras.tasks import TASKS


def extract(config: Config, splits: Sequence[str] | None = None) -> dict[str, FeatureCache]:
    """Encodes the images of each split with the frozen image encoder, unless they are in the cache already.

    If it was stopped, the next call continues where it stopped. `train` with `image_encoder.cache_features` reads the
    same cache.

    Args:
        config: `Config`; `image_encoder.cache_features` counts as true.
        splits: names; None: the training and the development split.

    Returns:
        Dict of split -> `FeatureCache`.

    Raises:
        ConfigError: the image encoder is not frozen.
        FeatureCacheError: the cache is damaged or cannot be written.
        QuarantineError: more images than `data.max_bad_share` cannot be read.
        DataError: the data is missing or malformed.
    """
    encoder = dataclasses.replace(config.image_encoder, cache_features=True)
    config = dataclasses.replace(config, image_encoder=encoder)
    check_config(config)
    task = TASKS[config.task](config)
    with keras_settings("float32"):
        model = task.build()
    splits = splits or (config.data.train_split, config.data.dev_split)
    with task.quarantine_errors():
        caches = {split: task.features(model, split) for split in splits}
    return {split: cache for split, cache in caches.items() if cache is not None}
