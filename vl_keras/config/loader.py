"""Reads settings from strict YAML and `key=value` overrides, and writes them."""

import copy
import difflib
import json
import typing
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

from vl_keras.config.experiments import find_config
from vl_keras.config.keys import (
    is_unused,
    known_tasks,
    section_values,
    settings_of,
    shared_sections,
    string_settings,
    values_of,
)
from vl_keras.config.rules import check_config, task_class, unused
from vl_keras.config.schema import Config
from vl_keras.config.setting import SettingError
from vl_keras.config.values import convert
from vl_keras.config.yaml_files import parse_yaml, read_yaml, write_yaml
from vl_keras.errors import ConfigError

_BASE = "base"


def load_config(path: str | Path, overrides: Sequence[str] = (), of_run: bool = False) -> Config:
    """Reads a YAML file into a `Config`.

    Args:
        path: YAML file, or the name of a shipped experiment such as `captioning/shapes`. Its keys are those of
            `Config`, nested, with the task's own sections beside the shared ones; a key that is left out keeps its
            default. `base: other.yaml`, relative to the file, first reads another file, which has no `base` itself.
        overrides: `"section.key=value"` strings, applied last. A setting that is a string takes the text after `=` as
            it is; values of other types are read as YAML.
        of_run: the file is the `config.yaml` of a run, which may be of an older version: settings in it that the task
            does not use are dropped instead of refused.

    Returns:
        A checked `Config`.

    Raises:
        ConfigError: the file is missing or no YAML, a key is unknown, or a value breaks its rule; the message names
            the file and the key.
    """
    path = find_config(path)
    values = read_yaml(path)
    layers = [(path, values)]
    if _BASE in values:
        base = _base_path(path, values.pop(_BASE))
        layers.append((base, read_yaml(base)))
        if _BASE in layers[1][1]:
            raise ConfigError(f"`{path}` has `base: {base.name}`, and `{base}` has a `base` too; one level is allowed.")
        values = _merged(layers[1][1], values)
    try:
        return config_from_dict(values, overrides, of_run)
    except SettingError as error:
        if _is_overridden(error.key, overrides):
            raise
        file = next((file for file, layer in layers if _holds(layer, error.key)), path)
        raise ConfigError(f"{file}: {error}") from None


def config_from_dict(nested: Mapping[str, Any], overrides: Sequence[str] = (), of_run: bool = False) -> Config:
    """The `Config` of a nested dict and of `"section.key=value"` strings; see `load_config`."""
    values: dict[str, Any] = copy.deepcopy(dict(nested))
    if of_run:
        _drop_unused(values)
    for override in overrides:
        _override(values, override)
    task = task_class(values.get("task", Config.task))
    sections = {**shared_sections(), **task.sections}
    _refuse_foreign(values, sections)
    built = {name: _build(kind, values.get(name), f"{name}.") for name, kind in sections.items()}
    config = Config(
        task=values.get("task", Config.task),
        sections={name: built.pop(name) for name in task.sections},
        **built,
    )
    check_config(config)
    return config


def as_override(key: str, value: Any) -> str:
    """The `"section.key=value"` string that sets a value."""
    return f"{key}={value if isinstance(value, str) else json.dumps(value)}"


def config_to_dict(config: Config) -> dict[str, Any]:
    """Nested dict of the settings that the config's task uses, from which `config_from_dict` makes an equal config."""
    task = task_class(config.task)
    nested: dict[str, Any] = {}
    for key, value in values_of(config).items():
        if not is_unused(task, key):
            *names, name = key.split(".")
            level = nested
            for section in names:
                level = level.setdefault(section, {})
            level[name] = list(value) if isinstance(value, tuple) else value
    return nested


def save_config(config: Config, path: str | Path) -> None:
    """Writes every setting that the config's task uses, defaults included, as YAML that `load_config` reads."""
    write_yaml(config_to_dict(config), path)


def _base_path(path: Path, base: Any) -> Path:
    if not isinstance(base, str):
        raise ConfigError(f"{path}: `base` must name a YAML file; got {base!r}.")
    found = path.parent / base
    if not found.is_file():
        raise ConfigError(f"{path}: `base` names `{base}`, but there is no file `{found}`.")
    return found


def _merged(base: Mapping[str, Any], values: Mapping[str, Any]) -> dict[str, Any]:
    """`base` with what `values` sets; sections are merged, lists and other values replaced."""
    merged = dict(base)
    for key, value in values.items():
        below = merged.get(key)
        if isinstance(below, dict) and (value is None or isinstance(value, dict)):
            value = _merged(below, value or {})
        merged[key] = value
    return merged


def _holds(values: Any, key: str) -> bool:
    """Whether a nested dict has this key, or, if it is that of a value, the value in place of one of its sections."""
    for name in key.split("."):
        if not isinstance(values, dict):
            return values is not None
        if name not in values:
            return False
        values = values[name]
    return True


def _is_overridden(key: str, overrides: Iterable[str]) -> bool:
    keys = [override.partition("=")[0].strip() for override in overrides]
    return any(key == other or other.startswith(f"{key}.") or key.startswith(f"{other}.") for other in keys)


def _override(values: dict[str, Any], override: str) -> None:
    key, separator, text = override.partition("=")
    if not separator:
        raise ConfigError(f"An override is written key=value; got `{override}`.")
    *sections, name = key.strip().split(".")
    level = values
    for section in sections:
        if level.get(section) is None:  # absent, or a section with nothing in it
            level[section] = {}
        level = level[section]
        if not isinstance(level, dict):
            raise ConfigError(f"`{key}` cannot be set: `{section}` is a value, not a section.")
    level[name] = text if key.strip() in string_settings() else parse_yaml(text, f"The value of `{key}`")


def _drop_unused(values: dict[str, Any]) -> None:
    """Drops what a run of an older version kept: sections of other tasks, and settings that its task does not use."""
    task = task_class(values.get("task", Config.task))
    for other in known_tasks().values():
        for name in other.sections:
            if name not in task.sections:
                values.pop(name, None)
    for name, kind in {**shared_sections(), **task.sections}.items():
        for setting in settings_of(kind, f"{name}."):
            if is_unused(task, setting.key):
                _drop(values, setting.key)


def _drop(values: Any, key: str) -> None:
    *sections, name = key.split(".")
    for section in sections:
        values = values.get(section) if isinstance(values, dict) else None
    if isinstance(values, dict):
        values.pop(name, None)


def _refuse_foreign(values: dict[str, Any], sections: Mapping[str, type]) -> None:
    """Refuses top-level keys that the task does not know; a section of another task may stand with its defaults."""
    task = values.get("task", Config.task)
    for key, value in values.items():
        if key == "task" or key in sections:
            continue
        other = next((other.sections[key] for other in known_tasks().values() if key in other.sections), None)
        if other is None:
            raise _unknown(key, ["task", *sections])
        default = section_values(other(), f"{key}.")
        given = section_values(_build(other, value, f"{key}."), f"{key}.")
        for name in given:
            if given[name] != default[name]:
                raise unused(name, task)


def _build(kind: type, values: Any, prefix: str) -> Any:
    """A section's dataclass from a nested dict; raises `SettingError` for an unknown key or a value of another type."""
    if values is None:
        values = {}
    if not isinstance(values, dict):
        raise SettingError(prefix[:-1], f"`{prefix[:-1]}` is a section of keys; got {values!r}.")
    kinds = typing.get_type_hints(kind)
    names = [field.name for field in fields(kind)]
    built = {}
    for name, value in values.items():
        if name not in names:
            raise _unknown(f"{prefix}{name}", [f"{prefix}{other}" for other in names])
        inner = kinds[name]
        if hasattr(inner, "__dataclass_fields__"):
            built[name] = _build(inner, value, f"{prefix}{name}.")
        else:
            built[name] = convert(inner, value, f"{prefix}{name}")
    return kind(**built)


def _unknown(key: str, known: Sequence[str]) -> SettingError:
    near = difflib.get_close_matches(key, known, n=1, cutoff=0.4)
    hint = f"did you mean `{near[0]}`?" if near else f"known here: {', '.join(known)}."
    return SettingError(key, f"Unknown key `{key}`; {hint}")
