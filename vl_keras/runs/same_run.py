"""Whether a run that is to be resumed is the run that it was: settings, data, and files wherever they lie now."""

from __future__ import annotations

import filecmp
import os
from pathlib import Path
from typing import Any

import tensorflow as tf

from vl_keras.config import Config, load_config, values_of
from vl_keras.encoders.kept_backbone import backbone_without_place, kept_backbone
from vl_keras.errors import RunError
from vl_keras.json_files import read_json
from vl_keras.runs.run_dir import RunDir, fingerprints
from vl_keras.tasks.task import Task

# Settings that may differ when a run is resumed: they name places of what the data's fingerprint covers, or say when to
# save or to stop, and do not change what is computed.
_FREE_TO_CHANGE = (
    "data.data_dir",
    "data.manifest",
    "data.manual_dir",
    "data.max_bad_share",
    "generation.memory",
    "training.checkpoint_steps",
    "training.patience",
)
# Settings that name files which decide what is computed. They may lie elsewhere now.
_FILES = (
    "image_encoder.backbone",
    "image_encoder.weights",
    "text.vocabulary",
    "text.word_vectors.encoder",
    "text.word_vectors.preprocessor",
    "text_encoder.encoder",
    "text_encoder.preprocessor",
)


def check_same_run(run: RunDir, task: Task, config: Config | None = None) -> list[str]:
    """Checks that a run was started with the task's config and data; its number of epochs may have grown since.

    The epochs of a phase can grow as long as no later phase has begun.

    Args:
        run: the run.
        task: that would resume it.
        config: the settings as the user gives them; by default the task's, which may name the run's own copies.

    Returns:
        The overrides that bring the run's settings up to date, e.g. `["training.epochs=25"]`; empty if nothing has
        grown.

    Raises:
        RunError: something else differs, the number of epochs is lower, or it cannot grow any more.
    """
    config = task.config if config is None else config
    before = load_config(run.config_file, of_run=True)
    if run.last_checkpoint((*task.renamed_phases, *task.phase_names)) is None and tf.train.latest_checkpoint(
        str(run.best)
    ):
        raise RunError(
            f"`{run.path}` joins other runs and was not trained itself, so there is nothing to resume. Start a new run "
            f"directory from it (--init-from {run.path})."
        )
    old, new = values_of(before), values_of(config)
    names = [
        name
        for name in differences(before, config)
        if name not in _FREE_TO_CHANGE and not (name in _FILES and _same_files(run, name, old[name], new[name]))
    ]
    grown = [name for name in names if name in task.epoch_settings]
    names = [name for name in names if name not in grown]
    if names:
        lines = "".join(f"\n  {name}: {old.get(name)!r} there, {new.get(name)!r} now" for name in names)
        raise RunError(
            f"`{run.path}` is a run with other settings:{lines}\nResume it with its own, or start a new run directory "
            f"from its weights (--init-from {run.path})."
        )
    for name in grown:
        _check_grown(run, task, name, old[name], new[name])
    known = read_json(run.path / "data.json")
    changed = [split for split, value in fingerprints(task).items() if known.get(split) != value]
    if changed:
        raise RunError(
            f"The data of split {', '.join(changed)} is not what the run in `{run.path}` was started with. Restore it, "
            f"or start a new run directory from its weights (--init-from {run.path})."
        )
    return [f"{name}={new[name]}" for name in grown]


def _check_grown(run: RunDir, task: Task, setting: str, before: int, now: int) -> None:
    """Raises `RunError` unless a phase's number of epochs is higher than before and no later phase has begun."""
    other = f"or start a new run directory from its weights (--init-from {run.path})."
    if now < before:
        raise RunError(
            f"`{setting}` of the run in `{run.path}` is {before} and can only grow; got {now}. Its learning rate is "
            f"that of {before} epochs. Resume it with at least that many (--set {setting}={before}), {other}"
        )
    place = task.epoch_settings.index(setting)
    later = task.phase_names[place + 1 :]
    if run.last_checkpoint(later) is not None:
        raise RunError(
            f"`{setting}` cannot grow from {before} to {now}: in `{run.path}` the phase {later[-1]} has begun, which "
            f"goes on from the weights of {task.phase_names[place]}. Raise `{task.epoch_settings[-1]}` instead (with "
            f"--set {setting}={before}), {other}"
        )


def differences(before: Config, after: Config) -> list[str]:
    """Names, as `section.key`, of the settings in which two `Config`s differ."""
    old, new = values_of(before), values_of(after)
    return [name for name in {**new, **old} if old.get(name) != new.get(name)]


def _same_files(run: RunDir, name: str, before: Any, now: Any) -> bool:
    """Whether two values of a setting name the same files.

    The run's own copy decides, else the files at the old place. Where neither the old nor the new files are there any
    more, the run's copy is used, or nothing of them is needed again, so the last part of their paths decides.
    """
    if not before or not now:
        return False
    if name == "image_encoder.backbone":
        if backbone_without_place(before) != backbone_without_place(now) or backbone_without_place(now) == now:
            return False
        copy: Path | None = _path(kept_backbone(before, run.image_network))
    else:
        copy = run.text_modules / name.rpartition(".")[2] if name.startswith("text_encoder.") else None
    old, new = _path(before), _path(now)
    if old == new:
        return True
    reference = copy if copy is not None and copy.exists() else old
    if reference.exists() and new.exists():
        return _equal(reference, new)
    return not new.exists() and reference == copy or old.name == new.name


def _path(value: str) -> Path:
    """The real path in a setting's value: alone, after `hub:`, or between `keras:` and `#`."""
    kind, colon, rest = value.partition(":")
    if colon and kind in ("hub", "keras"):
        value = rest.rpartition("#")[0] if kind == "keras" else rest
    return Path(value) if "://" in value else Path(os.path.realpath(os.path.expanduser(value)))


def _equal(one: Path, other: Path) -> bool:
    """Whether two files, or all files in two folders, have the same bytes."""
    if one.is_dir() != other.is_dir():
        return False
    if not one.is_dir():
        return filecmp.cmp(one, other, shallow=False)
    files, others = ({path.relative_to(top) for path in top.rglob("*") if path.is_file()} for top in (one, other))
    return files == others and all(filecmp.cmp(one / file, other / file, shallow=False) for file in files)
