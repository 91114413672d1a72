"""Builds the image encoder of a config, and caches the features of a frozen one."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import tensorflow as tf
import tf_keras as keras

from vl_keras.config import Config
from vl_keras.data.feature_cache import FeatureCache
from vl_keras.encoders.encoder_fingerprint import encoder_fingerprint
from vl_keras.encoders.image_encoder import build_image_encoder
from vl_keras.encoders.kept_backbone import backbone_without_place
from vl_keras.tasks.precision import built_in

if TYPE_CHECKING:
    from vl_keras.tasks.task import Task


def build_encoder(config: Config, load_weights: bool = True) -> keras.Model:
    """The image encoder that the settings name; see `build_image_encoder`.

    Args:
        config: `Config`.
        load_weights: false: random weights instead of those that `image_encoder.weights` names.
    """
    encoder = config.image_encoder
    # In float32, so that runs of every precision can share one cache.
    with built_in("float32") if encoder.cache_features else contextlib.nullcontext():
        return build_image_encoder(
            encoder.backbone,
            encoder.weights,
            encoder.trainable_from,
            config.data.image_size,
            load_weights=load_weights,
        )


def image_features(task: Task, model: Any, split: str) -> FeatureCache:
    """Opens the `FeatureCache` of a split; features that are missing are computed first.

    Args:
        task: supplies the source and the settings.
        model: what the task built; its `image_encoder` is frozen.
        split: name.
    """
    config, source = task.config, task.source(split)
    views = config.image_encoder.cache_views if split == config.data.train_split else 1
    fingerprint = encoder_fingerprint(model.image_encoder)
    # Changes to captions do not change the images.
    augment = dataclasses.replace(config.data.augment, synonym=0.0, word_deletion=0.0, word_swap=0.0)
    key = (fingerprint, source.fingerprint, config.data.image_size, views, views > 1 and augment)
    digest = hashlib.sha256(repr(key).encode()).hexdigest()[:16]
    name = config.data.manifest and Path(config.data.manifest).stem or config.data.dataset
    folder = data_dir(config) / "features" / f"{name}-{split}-{digest}"
    encode = tf.function(lambda image: model.image_encoder(image, training=False)["image_tokens"])
    return FeatureCache.build_or_open(folder, source, encode, fingerprint, config.data, views)


def describe_image_encoder(config: Config, image_encoder: keras.Model) -> dict[str, Any]:
    """A description that is equal for two encoders if they compute the same tokens from an image."""
    digest = hashlib.sha256()
    for weight in image_encoder.weights:
        digest.update(weight.numpy().astype("float32").tobytes())
    return {
        "backbone": backbone_without_place(config.image_encoder.backbone),
        "weights": digest.hexdigest(),
        "image_size": list(config.data.image_size),
    }


def data_dir(config: Config) -> Path:
    """The folder of prepared data and caches."""
    return Path(config.data.data_dir).expanduser()
