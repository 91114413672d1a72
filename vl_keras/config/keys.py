"""Settings by their full key, such as `data.augment.flip`, and which of them a task uses."""

import importlib
import typing
from collections.abc import Iterator, Mapping
from dataclasses import Field, fields, is_dataclass
from typing import Any, NamedTuple

from vl_keras.config.schema import Config
from vl_keras.config.setting import Rule


class Setting(NamedTuple):
    """One setting of a section.

    Attributes:
        key: in full, e.g. `data.batch_size`.
        kind: type of its values, e.g. `int` or `tuple[int, int]`.
        default: value that is used if none is set.
        rule: what a value must satisfy; None: anything of the type.
        help: what it means.
    """

    key: str
    kind: Any
    default: Any
    rule: Rule | None
    help: str


def known_tasks() -> Mapping[str, Any]:
    """The classes of all tasks by name.

    `config` lies below `tasks`, so the module is looked up when a config is read, and only what a task class declares
    about settings is used: `sections`, `unused_settings` and `check_settings`.
    """
    return importlib.import_module("vl_keras.tasks").TASKS


def shared_sections() -> dict[str, type]:
    """Dict of name to dataclass: the top-level sections that tasks share."""
    return {
        name: kind
        for name, kind in typing.get_type_hints(Config).items()
        if isinstance(kind, type) and is_dataclass(kind)
    }


def settings_of(section: type, prefix: str) -> Iterator[Setting]:
    """The settings of a section and of the sections in it; their keys start with `prefix`, e.g. `data.`."""
    kinds = typing.get_type_hints(section)
    for field in fields(section):
        kind = kinds[field.name]
        if is_dataclass(kind):
            yield from settings_of(typing.cast(type, kind), f"{prefix}{field.name}.")
        else:
            yield _setting(field, kind, f"{prefix}{field.name}")


def all_settings(task: Any) -> dict[str, Setting]:
    """Dict of key to setting: what a config of a task class may hold, unused settings included."""
    found = [_setting(field, str, "task") for field in fields(Config) if field.name == "task"]
    for name, section in {**shared_sections(), **task.sections}.items():
        found += settings_of(section, f"{name}.")
    return {setting.key: setting for setting in found}


def string_settings() -> frozenset[str]:
    """Keys of the settings of any task whose values are strings."""
    settings = (setting for task in known_tasks().values() for setting in all_settings(task).values())
    return frozenset(setting.key for setting in settings if setting.kind is str)


def values_of(config: Config) -> dict[str, Any]:
    """Dict of key to value: every setting of a config, the task's own sections included."""
    values: dict[str, Any] = {"task": config.task}
    for name in shared_sections():
        values |= section_values(getattr(config, name), f"{name}.")
    for name, section in config.sections.items():
        values |= section_values(section, f"{name}.")
    return values


def section_values(section: Any, prefix: str) -> dict[str, Any]:
    """Dict of key to value of a section, an instance of its dataclass."""
    values: dict[str, Any] = {}
    for field in fields(section):
        value = getattr(section, field.name)
        inner = is_dataclass(value)
        values |= section_values(value, f"{prefix}{field.name}.") if inner else {f"{prefix}{field.name}": value}
    return values


def is_unused(task: Any, key: str) -> bool:
    """Whether a setting has no effect for a task class."""
    return any(key == name or (name.endswith(".") and key.startswith(name)) for name in task.unused_settings)


def users_of(key: str) -> list[str]:
    """Names of the tasks for which a setting has an effect."""
    return [name for name, task in known_tasks().items() if key in all_settings(task) and not is_unused(task, key)]


def _setting(field: Field, kind: Any, key: str) -> Setting:
    return Setting(key, kind, field.default, field.metadata.get("rule"), field.metadata.get("help", ""))
