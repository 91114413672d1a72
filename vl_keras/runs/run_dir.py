"""The folder of one training run: all that explains the run and all that is needed to use or to resume it."""

from __future__ import annotations

import contextlib
import os
import shutil
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import tensorflow as tf
import tensorflow_hub as hub
import tf_keras as keras

from vl_keras.config import Config, save_config
from vl_keras.encoders.hub_modules import module_path
from vl_keras.encoders.kept_backbone import keep_backbone, kept_backbone
from vl_keras.errors import RunError, written
from vl_keras.files import locked
from vl_keras.json_files import read_json, write_json
from vl_keras.progress import say
from vl_keras.runs.history import History
from vl_keras.runs.versions import describe_versions
from vl_keras.tasks import TASKS
from vl_keras.tasks.task import Task

# All that a start writes before `config.yaml`, besides the task's vocabularies. With `config.yaml` the run has begun.
_BEFORE_CONFIG = frozenset(
    ".lock train.log checkpoints text_encoder image_encoder image_encoder.h5 versions.json data.json config.yaml.part "
    "versions.json.part data.json.part".split()
)
_ENCODER_WEIGHTS = "image_encoder.h5"
_TEXT_MODULES = ("encoder", "preprocessor")


class RunDir:
    """Paths and small files of a run directory.

    `config.yaml` (every setting), `vocabulary.txt` and a task's other vocabularies, `versions.json` (packages and code,
    one entry for each start), `data.json` (fingerprints), `image_encoder.h5` (weights of a frozen encoder),
    `image_encoder/` (a copy of a hub module or Keras model that is the backbone), `text_encoder/` (copies of the hub
    modules), `checkpoints/` (the last few of each phase, to resume from), `best/`
    (weights of the best epoch), `history.csv`, `curves.png` (of the history), `measures.json` (the
    metrics), `MODEL_CARD.md` (what the model is), `tensorboard/`, `quarantine.jsonl`, `train.log`. A run that joins
    others (`ensemble`) has its weights in `best/` and none of the files that only training writes.

    Args:
        path: the folder.

    Attributes:
        writes: false in a worker that leaves all files to the chief.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path).expanduser()
        self.checkpoints = self.path / "checkpoints"
        self.best = self.path / "best"
        self.text_modules = self.path / "text_encoder"
        self.image_network = self.path / "image_encoder"
        self.tensorboard = self.path / "tensorboard"
        self.config_file = self.path / "config.yaml"
        self.history_file = self.path / "history.csv"
        self.curves_file = self.path / "curves.png"
        self.metrics_file = self.path / "measures.json"
        self.quarantine_file = self.path / "quarantine.jsonl"
        self._lock = contextlib.ExitStack()
        self.writes = True

    def open(self, resume: bool, chief: bool = True) -> None:
        """Makes the folder for a new run, or locks the folder of a run to resume.

        Args:
            resume: whether the folder must hold a run.
            chief: false in a worker that writes nothing.

        Raises:
            RunError: the folder is not empty and `resume` is false, it holds no run and `resume` is true, or another
                process trains in it.
        """
        self.writes = chief
        if resume and not self.config_file.exists():
            raise RunError(f"`{self.path}` holds no run to resume: it has no config.yaml. Leave `resume` out to start.")
        if not chief:
            return
        lock = self.path / ".lock"
        if not resume and not self._never_began():
            advice = (
                "Resume the run in it (`vl-keras train --resume`)"
                if self.config_file.exists()
                else "It holds no run: empty it"
            )
            raise RunError(f"`{self.path}` is not empty. {advice}, or give another run directory.")
        self.path.mkdir(parents=True, exist_ok=True)
        with contextlib.ExitStack() as stack:
            try:
                held = stack.enter_context(locked(lock, wait=False))
            except BlockingIOError as error:
                raise RunError(f"Another process trains in `{self.path}`.") from error
            if not held:
                raise RunError(f"`{self.path}` may not be written to; training needs a folder that it can write.")
            self._lock = stack.pop_all()
        if not resume and self._never_began():  # checked again: now no other process can write here
            for path in (self.checkpoints, self.text_modules, self.image_network):
                shutil.rmtree(path, ignore_errors=True)
            (self.path / _ENCODER_WEIGHTS).unlink(missing_ok=True)

    def _never_began(self) -> bool:
        """Whether the folder holds nothing, or only files of a start that failed before its first step (a full disk).

        Without the lock file of a start, a folder such as `checkpoints` belongs to somebody else.
        """
        names = {path.name for path in self.path.iterdir()} if self.path.exists() else set()
        if not names:
            return True
        vocabularies = {name for task in TASKS.values() for name in task.vocabulary_files}
        phases = [path.name for path in self.checkpoints.glob("*") if path.is_dir()]
        last = self.last_checkpoint(phases)
        return ".lock" in names and names <= _BEFORE_CONFIG | vocabularies and (last is None or last.name == "ckpt-0")

    def close(self) -> None:
        """Releases the lock."""
        self._lock.close()

    def log(self, message: str) -> None:
        """Prints a line to standard error and adds it to `train.log`."""
        if not self.writes:
            return
        say(message)
        with contextlib.suppress(OSError):  # if the disk is full, the next checkpoint reports it
            with open(self.path / "train.log", "a", encoding="utf-8") as file:
                file.write(f"{time.strftime('%Y-%m-%d %H:%M:%S')}  {message}\n")

    def describe_start(self, init_from: str | Path | None = None) -> None:
        """Adds this start to `versions.json`."""
        path = self.path / "versions.json"
        starts = read_json(path) if path.exists() else []
        write_json(path, [*starts, {**describe_versions(), "init_from": init_from and str(init_from)}])

    def write_settings(self, task: Task, model: Any, init_from: str | Path | None = None) -> None:
        """Writes what the run is made of. `config.yaml` comes last: a run that has it has all the other files.

        Args:
            task: of the run.
            model: what the task built.
            init_from: folder of the run that this one starts from, if any.
        """
        if not self.writes:
            return
        with written("The run's settings and vocabularies", self.path, None):
            self.describe_start(init_from)
            task.save_vocabularies(self.path)
            if not task.config.image_encoder.trainable_from:
                self.save_image_encoder(model.image_encoder)
            keep_backbone(task.config.image_encoder.backbone, self.image_network)
            self._save_text_modules(task.config.text_encoder)
            write_json(self.path / "data.json", fingerprints(task))
            self.write_config(task.config)

    def write_config(self, config: Config) -> None:
        """Writes `config.yaml`, whole or not at all."""
        if not self.writes:
            return
        with written("The run's settings", self.path, None):
            part = self.path / "config.yaml.part"
            save_config(config, part)
            os.replace(part, self.config_file)

    def rename_phases(self, renamed: Mapping[str, str]) -> None:
        """Gives the phases of a run of an older version their names of today, in `history.csv` and `checkpoints/`.

        Args:
            renamed: dict of what such a run calls a phase -> its name.
        """
        old = {name: self.checkpoints / name for name in renamed if (self.checkpoints / name).is_dir()}
        if not self.writes or not old:
            return
        History(self.history_file).rename_phases(renamed)  # before the folders, which tell whether there is work
        for name, folder in old.items():
            folder.rename(self.checkpoints / renamed[name])

    def last_checkpoint(self, phases: Sequence[str]) -> Path | None:
        """Path of the newest checkpoint of the last phase that has one, or None; `phases` are names, in order."""
        paths = [tf.train.latest_checkpoint(str(self.checkpoints / phase)) for phase in phases]
        return next((Path(path) for path in reversed(paths) if path), None)

    def read_metrics(self) -> dict[str, Any]:
        """The contents of `measures.json`; an empty dict if there is none."""
        return read_json(self.metrics_file) if self.metrics_file.exists() else {}

    def save_image_encoder(self, image_encoder: keras.Model) -> None:
        """Saves a frozen encoder's weights, so that the run does not need the file they came from."""
        image_encoder.save_weights(str(self.path / _ENCODER_WEIGHTS))

    def load_image_encoder(self, image_encoder: keras.Model) -> None:
        """Loads what `save_image_encoder` saved."""
        image_encoder.load_weights(str(self.path / _ENCODER_WEIGHTS))

    def _save_text_modules(self, settings: Any) -> None:
        for module in _TEXT_MODULES:
            if handle := getattr(settings, module):
                folder = hub.resolve(module_path(handle))
                if Path(folder).is_dir():  # not a module that TensorFlow reads directly from cloud storage
                    shutil.copytree(folder, self.text_modules / module, dirs_exist_ok=True)

    def kept_settings(self, config: Config) -> list[str]:
        """Overrides that read the run's own copies of networks and hub modules instead of the originals."""
        kept = {module: self.text_modules.resolve() / module for module in _TEXT_MODULES}
        settings = [f"text_encoder.{name}={path}" for name, path in kept.items() if path.is_dir()]
        backbone = config.image_encoder.backbone
        if (copy := kept_backbone(backbone, self.image_network)) != backbone:
            settings.append(f"image_encoder.backbone={copy}")
        return settings

    @property
    def has_image_encoder(self) -> bool:
        """Whether the run keeps the weights of its image encoder in a file of their own."""
        return (self.path / _ENCODER_WEIGHTS).exists()


def fingerprints(task: Task) -> dict[str, dict[str, Any]]:
    """Dict of split -> number of images and fingerprint of the data of training."""
    splits = (task.config.data.train_split, task.config.data.dev_split)
    return {
        split: {"images": len(task.source(split)), "fingerprint": task.source(split).fingerprint} for split in splits
    }
