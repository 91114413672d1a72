"""One setting: its default, what it may be, and what it means, written in one place."""

from collections.abc import Callable
from dataclasses import field
from typing import Any, NamedTuple

from vl_keras.errors import ConfigError


class SettingError(ConfigError):
    """A fault in one setting.

    Args:
        key: the setting's full key; `load_config` finds the file that holds it.
        message: names the key, the rule and the value.
    """

    def __init__(self, key: str, message: str) -> None:
        super().__init__(message)
        self.key = key


class Rule(NamedTuple):
    """What a value must satisfy.

    Attributes:
        holds: tells whether a value does.
        text: completes the sentence "`key` must …".
        choices: the values that are allowed, if they can be listed.
    """

    holds: Callable[[Any], bool]
    text: str
    choices: tuple[Any, ...] = ()


def at_least(least: float) -> Rule:
    """The value is `least` or more."""
    return Rule(lambda value: value >= least, f"be at least {least}")


def above(bound: float) -> Rule:
    """The value is more than `bound`."""
    return Rule(lambda value: value > bound, f"be above {bound}")


def between(low: float, high: float) -> Rule:
    """The value lies between two bounds, both included."""
    return Rule(lambda value: low <= value <= high, f"lie between {low} and {high}")


def one_of(*choices: Any) -> Rule:
    """The value is one of these."""
    return Rule(lambda value: value in choices, f"be one of {', '.join(map(str, choices))}", choices)


PROBABILITY = between(0, 1)
BELOW_ONE = Rule(lambda value: 0 <= value < 1, "be at least 0 and below 1")
SHARE = Rule(lambda value: 0 < value <= 1, "be above 0 and at most 1")


def setting(default: Any, help: str, rule: Rule | None = None) -> Any:
    """A dataclass field for one setting.

    Args:
        default: its default value.
        help: what it means, with its unit, in one or two plain sentences.
        rule: what a value must satisfy; None: anything of the field's type.
    """
    return field(default=default, metadata={"help": help, "rule": rule})


def section(kind: type) -> Any:
    """A dataclass field that holds a whole section of settings; its meaning is the docstring of `kind`."""
    return field(default_factory=kind)
