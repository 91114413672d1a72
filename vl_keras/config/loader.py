"""Reads settings from strict YAML and `key=value` overrides."""

import dataclasses
import difflib
import math
import typing
from dataclasses import fields, is_dataclass
from pathlib import Path

import yaml

from vl_keras.config.rules import check_config
from vl_keras.config.schema import Config
from vl_keras.errors import ConfigError

_BOOLEANS = {"true": True, "yes": True, "on": True, "false": False, "no": False, "off": False}


class _StrictLoader(yaml.SafeLoader):
    """Refuses a key that stands twice in a section; YAML would keep the last and drop all that the first holds.

    Words such as on and off stay words, as in YAML 1.2: settings have them among their choices. `_convert` makes
    booleans of them where a boolean is wanted.
    """

    yaml_implicit_resolvers = {  # noqa: RUF012  never changed
        first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:bool"]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }

    def construct_mapping(self, node, deep=False):
        known = set()
        for key in (key for key, _ in node.value if isinstance(key, yaml.ScalarNode)):
            if key.value in known:
                raise yaml.constructor.ConstructorError(
                    problem=f"`{key.value}` stands twice", problem_mark=key.start_mark
                )
            known.add(key.value)
        return super().construct_mapping(node, deep)


def load_config(path, overrides=()):
    """Reads a YAML file into a `Config`.

    Args:
        path: YAML file; its keys are those of `Config`, nested; what it leaves out keeps its default.
        overrides: `"section.key=value"` strings, values in YAML, applied last.

    Returns:
        A checked `Config`.

    Raises:
        ConfigError: the file is missing or no YAML, a key is unknown, or a value breaks its rule.
    """
    path = Path(path)
    try:
        values = yaml.load(path.read_text(encoding="utf-8"), _StrictLoader)
    except FileNotFoundError:
        raise ConfigError(f"There is no config file `{path}`.") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"`{path}` is no YAML in UTF-8: {error}") from None
    if not isinstance(values or {}, dict):
        raise ConfigError(f"`{path}` must hold keys and values; it holds a {type(values).__name__}.")
    return config_from_dict(values or {}, overrides)


def config_from_dict(values, overrides=()):
    """The `Config` of a nested dict and of `"section.key=value"` strings; raises as `load_config`."""
    values = _copy(values)
    for override in overrides:
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
        try:
            level[name] = yaml.load(text, _StrictLoader)
        except yaml.YAMLError as error:
            raise ConfigError(f"The value of `{key}` is no YAML: {error}") from None
    config = _build(Config, values, "")
    check_config(config)
    return config


def save_config(config, path):
    """Writes every setting of `config`, defaults included, as YAML that `load_config` reads back equal."""
    Path(path).write_text(yaml.safe_dump(_plain(dataclasses.asdict(config)), sort_keys=False), encoding="utf-8")


def _build(kind, values, prefix):
    known = {f.name: f for f in fields(kind)}
    for key in values:
        if key not in known:
            near = difflib.get_close_matches(str(key), known, n=1, cutoff=0.4)
            hint = f"did you mean `{prefix}{near[0]}`?" if near else f"known here: {', '.join(known)}."
            raise ConfigError(f"Unknown key `{prefix}{key}`; {hint}")
    types = typing.get_type_hints(kind)
    return kind(**{key: _convert(types[key], value, f"{prefix}{key}") for key, value in values.items()})


def _convert(kind, value, key):
    if is_dataclass(kind):
        if not isinstance(value or {}, dict):
            raise ConfigError(f"`{key}` is a section of keys; got {value!r}.")
        return _build(kind, value or {}, f"{key}.")
    if typing.get_origin(kind) is tuple:
        arguments = typing.get_args(kind)
        if not isinstance(value, (list, tuple)):
            raise ConfigError(f"`{key}` must be a list such as [1, 2]; got {value!r}.")
        if arguments[-1] is not Ellipsis and len(value) != len(arguments):
            raise ConfigError(f"`{key}` must have {len(arguments)} values; got {value!r}.")
        return tuple(_convert(arguments[0], item, key) for item in value)
    if kind is float and isinstance(value, str):  # YAML 1.1 reads 5e-4 as a string
        try:
            value = float(value)
        except ValueError:
            pass
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        value = float(value)
    if kind is bool and isinstance(value, str):
        value = _BOOLEANS.get(value.lower(), value)
    if kind is str and value is None:
        value = ""
    if type(value) is not kind:
        raise ConfigError(f"`{key}` must be of type {kind.__name__}; got {value!r}.")
    if kind is float and not math.isfinite(value):
        raise ConfigError(f"`{key}` must be a finite number; got {value!r}.")
    return value


def _copy(values):
    return {key: _copy(value) if isinstance(value, dict) else value for key, value in values.items()}


def _plain(value):
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, tuple) else value
