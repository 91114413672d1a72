"""Writes the feature cache of an experiment before its training."""

import dataclasses

from vl_keras.config import check_config
from vl_keras.runs.strategy import keras_settings
from vl_keras.tasks import TASKS


def extract(config, splits=None):
    """Encodes the images of each split with the frozen image encoder, unless they are in the cache already.

    A run that was stopped goes on where it was. `train` with `image_encoder.cache_features` reads the same cache.

    Args:
        config: `Config`; `image_encoder.cache_features` is taken as set.
        splits: names; None: the training and the development split.

    Returns:
        Dict from split to its `FeatureCache`.

    Raises:
        ConfigError: the image encoder is not frozen.
        FeatureCacheError, QuarantineError, DataError: as the disk and the data are.
    """
    encoder = dataclasses.replace(config.image_encoder, cache_features=True)
    config = dataclasses.replace(config, image_encoder=encoder)
    check_config(config)
    task = TASKS[config.task](config)
    with keras_settings("float32"):
        model = task.build()
    splits = splits or (config.data.train_split, config.data.dev_split)
    with task.quarantine_errors():
        return {split: task.features(model, split) for split in splits}
