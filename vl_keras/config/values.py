"""Values from YAML in the type that a setting has."""

import math
import typing
from typing import Any

from vl_keras.config.setting import SettingError

_BOOLEANS = {"true": True, "yes": True, "on": True, "false": False, "no": False, "off": False}


def convert(kind: Any, value: Any, key: str) -> Any:
    """A value in a setting's type.

    Args:
        kind: `bool`, `int`, `float`, `str`, `tuple[int, int]`, `tuple[int, ...]`, and alike.
        value: as YAML gives it.
        key: of the setting, for the message.

    Raises:
        SettingError: the value is not of that type, or is a number that is not finite.
    """
    if typing.get_origin(kind) is tuple:
        return _convert_list(typing.get_args(kind), value, key)
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
        raise SettingError(key, f"`{key}` must be of type {kind.__name__}; got {value!r}.")
    if kind is float and not math.isfinite(value):
        raise SettingError(key, f"`{key}` must be a finite number; got {value!r}.")
    return value


def _convert_list(kinds: tuple[Any, ...], value: Any, key: str) -> tuple[Any, ...]:
    if not isinstance(value, (list, tuple)):
        raise SettingError(key, f"`{key}` must be a list such as [1, 2]; got {value!r}.")
    if kinds[-1] is not Ellipsis and len(value) != len(kinds):
        raise SettingError(key, f"`{key}` must have {len(kinds)} values; got {value!r}.")
    return tuple(convert(kinds[0], item, key) for item in value)
