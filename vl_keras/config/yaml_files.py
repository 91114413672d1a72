"""Strict YAML: what would be read only in part is refused."""

from pathlib import Path
from typing import Any

import yaml

from vl_keras.errors import ConfigError
from vl_keras.files import read_file

_MOST_VALUES = 100_000


class _StrictLoader(yaml.SafeLoader):
    """Refuses a key that stands twice in a section; YAML would keep the last one and drop what the first holds.

    An alias counts as all that it stands for, so a few lines cannot become millions of values; nor may an alias stand
    in what it names.

    Words such as on and off stay words, as in YAML 1.2, because some settings have them among their choices;
    `values.convert` turns them into booleans for settings that are booleans.
    """

    yaml_implicit_resolvers = {  # noqa: RUF012  never changed
        first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:bool"]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }

    def get_single_node(self) -> Any:
        node = super().get_single_node()
        if node is not None and _written_out(node, {}) > _MOST_VALUES:
            raise yaml.constructor.ConstructorError(
                problem=f"with its aliases written out it holds more than {_MOST_VALUES} values",
                problem_mark=node.start_mark,
            )
        return node

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        known = set()
        for key in (key for key, _ in node.value if isinstance(key, yaml.ScalarNode)):
            if key.value in known:
                raise yaml.constructor.ConstructorError(
                    problem=f"`{key.value}` stands twice", problem_mark=key.start_mark
                )
            known.add(key.value)
        return super().construct_mapping(node, deep)


def _written_out(node: yaml.Node, known: dict[int, int]) -> int:
    """Number of nodes below and including this one, with aliases written out; a node within itself is endless."""
    if id(node) not in known:
        known[id(node)] = _MOST_VALUES + 1  # while it is counted: met again, it contains itself
        below = node.value if isinstance(node, yaml.CollectionNode) else []
        below = [part for pair in below for part in pair] if isinstance(node, yaml.MappingNode) else below
        known[id(node)] = 1 + sum(_written_out(part, known) for part in below)
    return known[id(node)]


def read_yaml(path: Path) -> dict[str, Any]:
    """The keys and values of a file.

    Raises:
        ConfigError: the file is no YAML in UTF-8, or holds something else than keys and values.
        OSError: the file cannot be read.
    """
    try:
        values = yaml.load(read_file(path).decode("utf-8"), _StrictLoader)
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
        raise ConfigError(f"`{path}` is no YAML in UTF-8: {error}") from None
    if values is None:
        return {}
    if not isinstance(values, dict):
        raise ConfigError(f"`{path}` must hold keys and values; it holds a {type(values).__name__}.")
    return values


def parse_yaml(text: str, what: str) -> Any:
    """The value of a text in YAML; raises `ConfigError`, whose message starts with `what`."""
    try:
        return yaml.load(text, _StrictLoader)
    except (yaml.YAMLError, RecursionError) as error:
        raise ConfigError(f"{what} is no YAML: {error}") from None


def write_yaml(values: dict[str, Any], path: str | Path) -> None:
    """Writes a nested dict in its own order."""
    Path(path).write_text(yaml.safe_dump(values, sort_keys=False), encoding="utf-8")
