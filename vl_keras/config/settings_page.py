"""The settings as a page: for a terminal, or as Markdown for the documentation."""

import difflib
import textwrap
import typing
from collections.abc import Iterable
from typing import Any, NamedTuple

import yaml

from vl_keras.config.keys import Setting, is_unused, known_tasks, settings_of, shared_sections
from vl_keras.config.rules import task_class
from vl_keras.config.schema import Config
from vl_keras.config.setting import SettingError

_WIDTH = 100
_INTRODUCTION = """\
# Settings

An experiment is a YAML file whose keys are the settings below, nested: `data: {batch_size: 16}` sets
`data.batch_size`. What a file leaves out keeps its default. `--set data.batch_size=16` on the command line replaces
what the file says.

- After `--set KEY=`, a setting that is a string takes the text as it is; values of other types are read as YAML.
- An unknown key, a value that breaks its rule, and a setting that does nothing for the chosen task are errors, which
  name the file, the key and the nearest setting.
- `base: other.yaml` reads another file first, whose path is relative to the file; what follows replaces its settings. A
  base has no `base` itself. The run directory keeps the resolved whole in `config.yaml`.
- `vl-keras config` prints this page, `vl-keras config data --task NAME` one section of it as far as a task uses it.
- `vl-keras configs` lists the experiments that come with the package. Their names stand for their files in every
  command: `vl-keras train captioning/shapes`.
"""


class Section(NamedTuple):
    """A section of the page.

    Attributes:
        name: e.g. `data.augment`; empty for what stands above all sections.
        text: what it holds.
        settings: its settings, those of sections in it aside.
        users: for each setting, the tasks that use it, if others of the page do not; else empty.
    """

    name: str
    text: str
    settings: list[Setting]
    users: list[list[str]]


def sections(task: str | None = None, only: str | None = None) -> list[Section]:
    """The sections of the page.

    Args:
        task: name of a task, whose settings alone are wanted; None: those of all tasks.
        only: a section or a setting that is wanted, with all in it; None: everything.

    Raises:
        ConfigError: there is no such task, section or setting.
    """
    tasks = known_tasks() if task is None else {task: task_class(task)}
    kinds = dict(shared_sections())
    for one in tasks.values():
        kinds |= one.sections
    found = [_section("", Config, tasks)]
    for name, kind in kinds.items():
        found += [_section(inner, part, tasks) for inner, part in _parts(name, kind)]
    found = [section for section in found if section.settings]
    if only is None:
        return found
    limited = [section for section in (_limited(section, only) for section in found) if section.settings]
    if not limited:
        names = [section.name for section in found if section.name]
        known = [*names, *(each.key for section in found for each in section.settings)]
        near = difflib.get_close_matches(only, known, n=1, cutoff=0.7)
        hint = f"did you mean `{near[0]}`?" if near else f"the sections are {', '.join(names)}."
        of = f"The task {task} uses" if task else "There is"
        raise SettingError(only, f"{of} no section or setting `{only}`; {hint}")
    return limited


def as_text(page: Iterable[Section]) -> str:
    """The page for a terminal of 100 columns."""
    blocks = []
    for section in page:
        lines = [section.name or "the experiment", *_wrapped(section.text, 2), ""]
        keys, kinds, defaults = (
            max(map(len, column)) for column in zip(*[_cells(setting) for setting in section.settings], strict=True)
        )
        for setting, users in zip(section.settings, section.users, strict=True):
            key, kind, default = _cells(setting)
            lines.append(f"  {key:{keys}}  {kind:{kinds}}  {default:{defaults}}".rstrip())
            lines += _wrapped(_meaning(setting, users), 6)
        blocks.append("\n".join(lines))
    return "\n\n".join(blocks) + "\n"


def as_markdown(page: Iterable[Section]) -> str:
    """The page for the documentation."""
    blocks = [_INTRODUCTION]
    for section in page:
        rows = [f"## {f'`{section.name}`' if section.name else 'The experiment'}", "", section.text, ""]
        rows += ["| key | type | default | rule | meaning |", "|---|---|---|---|---|"]
        for setting, users in zip(section.settings, section.users, strict=True):
            key, kind, default = _cells(setting)
            rule = setting.rule.text if setting.rule else ""
            rows.append(f"| `{key}` | {kind} | `{default}` | {rule} | {setting.help}{_only_for(users)} |")
        blocks.append("\n".join(rows) + "\n")
    return "\n".join(blocks)


def _section(name: str, kind: type, tasks: Any) -> Section:
    prefix = f"{name}." if name else ""
    settings = [each for each in settings_of(kind, prefix) if "." not in each.key.removeprefix(prefix)]
    settings = [each for each in settings if each.help]  # not `Config.sections`
    users = [_users(each.key, tasks) for each in settings]
    kept = [i for i, of in enumerate(users) if of]
    some = [users[i] if len(users[i]) < len(tasks) else [] for i in kept]
    text = " ".join((kind.__doc__ or "").split("\n\n")[0].split())
    if some and all(of == some[0] for of in some):  # said once, of the section
        text, some = f"{text}{_only_for(some[0])}", [[] for _ in some]
    return Section(name, text, [settings[i] for i in kept], some)


def _users(key: str, tasks: Any) -> list[str]:
    top = key.split(".")[0]
    shared = key == "task" or top in shared_sections()
    return [name for name, task in tasks.items() if (shared or top in task.sections) and not is_unused(task, key)]


def _parts(name: str, kind: type) -> list[tuple[str, type]]:
    """A section and the sections in it: `(name, dataclass)`."""
    parts = [(name, kind)]
    for field, inner in typing.get_type_hints(kind).items():
        if hasattr(inner, "__dataclass_fields__"):
            parts += _parts(f"{name}.{field}", inner)
    return parts


def _limited(section: Section, only: str) -> Section:
    if section.name == only or section.name.startswith(f"{only}."):
        return section
    kept = [i for i, each in enumerate(section.settings) if each.key == only]
    return section._replace(settings=[section.settings[i] for i in kept], users=[section.users[i] for i in kept])


def _cells(setting: Setting) -> tuple[str, str, str]:
    kind = setting.kind
    if typing.get_origin(kind) is tuple:
        inner = [each.__name__ if each is not Ellipsis else "…" for each in typing.get_args(kind)]
        name = f"[{', '.join(inner)}]"
    else:
        name = kind.__name__
    return setting.key, name, _yaml(setting.default)


def _yaml(value: Any) -> str:
    """A value as it is written in YAML, on one line."""
    value = list(value) if isinstance(value, tuple) else value
    return '""' if value == "" else yaml.safe_dump(value, default_flow_style=True).removesuffix("\n...\n").strip()


def _meaning(setting: Setting, users: list[str]) -> str:
    rule = f" Must {setting.rule.text}." if setting.rule else ""
    return f"{setting.help}{rule}{_only_for(users)}"


def _only_for(users: list[str]) -> str:
    return f" Only for {', '.join(users)}." if users else ""


def _wrapped(text: str, indent: int) -> list[str]:
    return textwrap.wrap(text, _WIDTH, initial_indent=" " * indent, subsequent_indent=" " * indent)
