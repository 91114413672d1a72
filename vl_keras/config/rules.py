"""Checks a whole config: each value by the rule beside its setting, then what may not stand beside what."""

import difflib
from collections.abc import Iterable
from typing import Any

from vl_keras.config.keys import all_settings, is_unused, known_tasks, users_of, values_of
from vl_keras.config.schema import Config
from vl_keras.config.setting import SettingError


def check_config(config: Config) -> None:
    """Checks every rule of a config.

    Args:
        config: any; `dataclasses.replace` may have made it.

    Raises:
        SettingError: a value breaks its rule, does nothing for the task, or does not go with another.
    """
    task = task_class(config.task)
    known = all_settings(task)
    for key, value in values_of(config).items():
        rule = known[key].rule
        if rule is not None and not rule.holds(value):
            raise SettingError(key, f"`{key}` must {rule.text}; got {value!r}.")
        if is_unused(task, key) and value != known[key].default:
            raise unused(key, config.task)
    _check_model(config)
    _check_generation(config)
    _check_caches(config)
    task.check_settings(config)


def task_class(name: Any) -> Any:
    """The class of a task; raises `SettingError` if there is none of that name."""
    tasks = known_tasks()
    if name not in list(tasks):  # a list, because the name may be anything that YAML can hold
        raise SettingError("task", f"`task` must be one of {', '.join(tasks)}; got {name!r}.")
    return tasks[name]


def unused(key: str, task: str) -> SettingError:
    """The error for a setting that has no effect for the task of this name."""
    used = [other for other in all_settings(known_tasks()[task]) if not is_unused(known_tasks()[task], other)]
    users = users_of(key)
    of = f" (it is for {', '.join(users)})" if users else ""
    return SettingError(
        key,
        f"`{key}` does nothing for the task {task}{of}; leave it out. The nearest setting that does something is "
        f"`{nearest(key, used)}`.",
    )


def nearest(key: str, keys: Iterable[str]) -> str:
    """The one of `keys` that is spelled most like `key`."""
    return difflib.get_close_matches(key, keys, n=1, cutoff=0.0)[0]


def _check_model(config: Config) -> None:
    model, vectors = config.model, config.text.word_vectors
    if model.hidden_dim % model.num_heads:
        raise SettingError(
            "model.hidden_dim",
            f"`model.hidden_dim` must be divisible by `model.num_heads`; got {model.hidden_dim} and {model.num_heads}.",
        )
    if bool(vectors.encoder) != bool(vectors.preprocessor):
        raise SettingError(
            "text.word_vectors", "`text.word_vectors` needs both its `encoder` and its `preprocessor`, or neither."
        )


def _check_generation(config: Config) -> None:
    generation = config.generation
    if generation.method != "sample" and generation.num_captions > generation.beam_size:
        raise SettingError(
            "generation.num_captions",
            f"`generation.num_captions` must be at most `generation.beam_size` ({generation.beam_size}); got "
            f"{generation.num_captions}.",
        )
    if generation.min_length > generation.max_length:
        raise SettingError(
            "generation.min_length",
            f"`generation.min_length` must be at most `generation.max_length` ({generation.max_length}); got "
            f"{generation.min_length}.",
        )
    if generation.memory and generation.method == "greedy":
        raise SettingError(
            "generation.method",
            "`generation.method` must be beam or sample if `generation.memory` is set; got 'greedy'.",
        )
    if generation.memory and config.image_encoder.trainable_from:
        raise SettingError(
            "image_encoder.trainable_from",
            "`image_encoder.trainable_from` must be empty if `generation.memory` is set; got "
            f"{config.image_encoder.trainable_from!r}.",
        )


def _check_caches(config: Config) -> None:
    image, text, augment = config.image_encoder, config.text_encoder, config.data.augment
    if text.cache_features and (text.trainable or not text.encoder):
        raise SettingError(
            "text_encoder.cache_features",
            "`text_encoder.cache_features` needs a frozen hub encoder (`text_encoder.encoder`, and `trainable` false): "
            "cached features do not follow training.",
        )
    if text.cache_features and (augment.synonym or augment.word_deletion or augment.word_swap):
        raise SettingError(
            "text_encoder.cache_features",
            "`text_encoder.cache_features` reads texts as they were encoded once, so they cannot be changed in "
            "training; set `data.augment.synonym`, `word_deletion` and `word_swap` to 0, or do not cache.",
        )
    if image.cache_features and image.trainable_from:
        raise SettingError(
            "image_encoder.cache_features",
            "`image_encoder.cache_features` needs a frozen encoder, since cached features do not follow its training; "
            f"`image_encoder.trainable_from` is {image.trainable_from!r}.",
        )
