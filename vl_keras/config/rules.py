"""Checks a config: each value by the rule beside its setting, and what may not stand beside what."""

from dataclasses import fields, is_dataclass
from typing import Any

from vl_keras.config.schema import Config
from vl_keras.errors import ConfigError

TASK_NAMES = ("captioning", "vqa", "free_form_vqa", "matching", "retrieval")


def check_config(config: Config) -> None:
    """Raises `ConfigError` for the first value that breaks a rule."""
    _check_values(config, "")
    _check_captions(config)
    _check_caches(config)
    _check_task(config)
    model = config.model
    if model.hidden_dim % model.num_heads:
        raise ConfigError(
            f"`model.hidden_dim` must be divisible by `model.num_heads`; got {model.hidden_dim} and {model.num_heads}."
        )
    vectors = config.text.word_vectors
    if bool(vectors.encoder) != bool(vectors.preprocessor):
        raise ConfigError("`text.word_vectors` needs both its `encoder` and its `preprocessor`, or neither.")


def _check_values(section: Any, prefix: str) -> None:
    for field in fields(section):
        value, rule = getattr(section, field.name), field.metadata.get("rule")
        if is_dataclass(value):
            _check_values(value, f"{prefix}{field.name}.")
        elif rule is not None and not rule.holds(value):
            raise ConfigError(f"`{prefix}{field.name}` must {rule.text}; got {value!r}.")


def _check_captions(config: Config) -> None:
    generation = config.generation
    if generation.method != "sample" and generation.num_captions > generation.beam_size:
        raise ConfigError(
            f"`generation.num_captions` must be at most `generation.beam_size` ({generation.beam_size}); got "
            f"{generation.num_captions}."
        )
    if generation.min_length > generation.max_length:
        raise ConfigError(
            f"`generation.min_length` must be at most `generation.max_length` ({generation.max_length}); got "
            f"{generation.min_length}."
        )
    if generation.memory and generation.method == "greedy":
        raise ConfigError("`generation.method` must be beam or sample where `generation.memory` is set; got 'greedy'.")
    if generation.memory and config.image_encoder.trainable_from:
        raise ConfigError(
            "`image_encoder.trainable_from` must be empty where `generation.memory` is set; got "
            f"{config.image_encoder.trainable_from!r}."
        )


def _check_caches(config: Config) -> None:
    text, augment = config.text_encoder, config.data.augment
    if text.cache_features and (text.trainable or not text.encoder):
        raise ConfigError(
            "`text_encoder.cache_features` needs a frozen hub encoder (`text_encoder.encoder`, and `trainable` false): "
            "cached features do not follow training."
        )
    if text.cache_features and (augment.synonym or augment.word_deletion or augment.word_swap):
        raise ConfigError(
            "`text_encoder.cache_features` reads texts as they were encoded once, so they cannot be changed in "
            "training; set `data.augment.synonym`, `word_deletion` and `word_swap` to 0, or do not cache."
        )
    if config.image_encoder.cache_features and config.image_encoder.trainable_from:
        raise ConfigError(
            "`image_encoder.cache_features` needs a frozen encoder, since cached features do not follow its training; "
            f"`image_encoder.trainable_from` is {config.image_encoder.trainable_from!r}."
        )


def _check_task(config: Config) -> None:
    if config.task not in TASK_NAMES:
        raise ConfigError(f"`task` must be one of {', '.join(TASK_NAMES)}; got {config.task!r}.")
    if config.task == "captioning" and config.text_encoder.encoder and config.data.context == "none":
        raise ConfigError(
            "`text_encoder.encoder` is set but `data.context` is none, so it would read nothing; set `data.context` to "
            "field or caption_words, or leave the encoder empty."
        )
    if config.text_encoder.cache_features and config.task == "free_form_vqa":
        raise ConfigError("`text_encoder.cache_features` is for vqa, matching and retrieval; free_form_vqa reads ids.")
    vectors = config.text.word_vectors
    if (vectors.encoder or vectors.preprocessor) and config.task != "captioning":
        raise ConfigError("`text.word_vectors` is for captioning; the other tasks read texts with `text_encoder`.")
    if config.model.members != 1 and config.task != "captioning":
        raise ConfigError(f"`model.members` must be 1 for {config.task}; got {config.model.members}.")
    if config.model.num_layers < 1 and config.task != "retrieval":
        raise ConfigError(f"`model.num_layers` must be at least 1; got {config.model.num_layers}.")
    if config.generation.memory and config.task != "captioning":
        raise ConfigError(f"`generation.memory` must be empty for {config.task}; got {config.generation.memory!r}.")
