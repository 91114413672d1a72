"""The folder of one training run: everything that explains it and that is needed to use or to continue it."""

import contextlib
import dataclasses
import fcntl
import json
import os
import shutil
import sys
import time
from pathlib import Path

import tensorflow as tf
import tensorflow_hub as hub
from tqdm import tqdm

from vl_keras.config import load_config, save_config
from vl_keras.encoders.text_encoder import module_path
from vl_keras.tasks import TASKS
from vl_keras.training.errors import TrainingError, first_line, written
from vl_keras.training.strategy import keras_settings, use_jit
from vl_keras.training.versions import describe_versions

# Settings that say where things lie, or when to look at them or to stop, not what is computed.
_FREE_TO_CHANGE = (
    "data.data_dir",
    "data.manual_dir",
    "data.max_bad_share",
    "generation.memory",
    "training.checkpoint_steps",
    "training.patience",
)
# How the names begin of those that may be set for a trained run.
_FOR_USE = ("data.", "generation.", "retrieval.rerank_", "retrieval.querybank")
# All that a start writes before `config.yaml`, with which it has begun.
_BEFORE_CONFIG = frozenset(
    ".lock train.log checkpoints text_encoder image_encoder.h5 versions.json data.json vocabulary.txt "
    "answer_vocabulary.txt answers.txt querybank.jsonl config.yaml.part versions.json.part data.json.part".split()
)
FIRST_PHASE = "cross_entropy"
PHASES = (FIRST_PHASE, "self_critical")  # in the order in which they run
_ENCODER_WEIGHTS = "image_encoder.h5"
_TEXT_MODULES = ("encoder", "preprocessor")


class RunDir:
    """Paths and small files of a run directory.

    `config.yaml` (every setting), `vocabulary.txt` and a task's other vocabularies, `versions.json` (of packages and
    code, one entry per start), `data.json` (fingerprints), `image_encoder.h5` (of a frozen encoder), `text_encoder/`
    (copies of the hub modules), `checkpoints/` (the last few of each phase, to resume from), `best/` (weights of the
    best epoch), `history.csv`, `curves.png` (of the history), `measures.json`, `tensorboard/`, `quarantine.jsonl`,
    `train.log`. A run that joins others (`ensemble`) has its weights in `best/`, and nothing that comes of training.
    """

    def __init__(self, path):
        self.path = Path(path).expanduser()
        self.checkpoints = self.path / "checkpoints"
        self.best = self.path / "best"
        self.text_modules = self.path / "text_encoder"
        self.tensorboard = self.path / "tensorboard"
        self.config_file = self.path / "config.yaml"
        self.history_file = self.path / "history.csv"
        self.curves_file = self.path / "curves.png"
        self.measures_file = self.path / "measures.json"
        self.quarantine_file = self.path / "quarantine.jsonl"
        self._lock = None
        self.writes = True

    def open(self, resume, chief=True):
        """Makes the folder for a new run, or claims an old one to resume; the others of several workers only look.

        Raises:
            TrainingError: it is not empty and `resume` is false, it holds no run and `resume` is true, or another
                process trains in it.
        """
        self.writes = chief
        if resume and not self.config_file.exists():
            raise TrainingError(
                f"`{self.path}` holds no run to resume: it has no config.yaml. Leave `resume` out to start."
            )
        if not chief:
            return
        lock = self.path / ".lock"
        if not resume and not self._never_began():
            advice = (
                "Resume the run in it (`vl-keras train --resume`)"
                if self.config_file.exists()
                else "It holds no run: empty it"
            )
            raise TrainingError(f"`{self.path}` is not empty. {advice}, or give another run directory.")
        self.path.mkdir(parents=True, exist_ok=True)
        self._lock = open(lock, "w")
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)  # the system releases it when the process dies
        except OSError as error:
            raise TrainingError(f"Another process trains in `{self.path}`.") from error
        if not resume and self._never_began():  # looked at again, now that nobody else can write here
            for path in (self.checkpoints, self.text_modules):
                shutil.rmtree(path, ignore_errors=True)
            (self.path / _ENCODER_WEIGHTS).unlink(missing_ok=True)

    def _never_began(self):
        """Whether there is nothing but what a start leaves that failed, of a full disk say, before its first step.

        Without a start's lock, a folder such as `checkpoints` is somebody else's.
        """
        names = {path.name for path in self.path.iterdir()} if self.path.exists() else set()
        if not names:
            return True
        last = self.last_checkpoint()
        return ".lock" in names and names <= _BEFORE_CONFIG and (last is None or last.name == "ckpt-0")

    def close(self):
        if self._lock is not None:
            self._lock.close()

    def log(self, message):
        """Prints a line, and keeps it in `train.log`."""
        if not self.writes:
            return
        tqdm.write(message, file=sys.stderr)
        with contextlib.suppress(OSError):  # of a full disk the next checkpoint tells, and what to do
            with open(self.path / "train.log", "a", encoding="utf-8") as file:
                file.write(f"{time.strftime('%Y-%m-%d %H:%M:%S')}  {message}\n")

    def describe_start(self, init_from=None):
        """Adds this start to `versions.json`."""
        path = self.path / "versions.json"
        starts = _read_json(path) if path.exists() else []
        write_json(path, [*starts, {**describe_versions(), "init_from": init_from and str(init_from)}])

    def write_settings(self, task, model, init_from=None):
        """Writes what the run is made of; `config.yaml` comes last, so that where it is, everything is."""
        if not self.writes:
            return
        with written("What the run is made of", self.path, None):
            self.describe_start(init_from)
            task.save_vocabularies(self.path)
            if not task.config.image_encoder.trainable_from:
                self.save_image_encoder(model.image_encoder)
            self._save_text_modules(task.config.text_encoder)
            write_json(self.path / "data.json", _fingerprints(task))
            part = self.path / "config.yaml.part"
            save_config(task.config, part)
            os.replace(part, self.config_file)

    def last_checkpoint(self):
        """Path of the newest checkpoint of the latest phase that has one, or None."""
        paths = [tf.train.latest_checkpoint(str(self.checkpoints / phase)) for phase in PHASES]
        return next((Path(path) for path in reversed(paths) if path), None)

    def read_measures(self):
        """What `measures.json` holds, an empty dict where there is none."""
        return _read_json(self.measures_file) if self.measures_file.exists() else {}

    def save_image_encoder(self, image_encoder):
        """Keeps a frozen encoder's weights with the run, so that it does not depend on where they came from."""
        image_encoder.save_weights(str(self.path / _ENCODER_WEIGHTS))

    def load_image_encoder(self, image_encoder):
        """Loads what `save_image_encoder` wrote."""
        image_encoder.load_weights(str(self.path / _ENCODER_WEIGHTS))

    def _save_text_modules(self, settings):
        for module in _TEXT_MODULES:
            if handle := getattr(settings, module):
                folder = hub.resolve(module_path(handle))
                if Path(folder).is_dir():  # not one that is read straight from cloud storage
                    shutil.copytree(folder, self.text_modules / module, dirs_exist_ok=True)

    def text_module_settings(self):
        """Overrides that read the hub modules which the run keeps, for the same reason as `image_encoder.h5`."""
        kept = {module: self.text_modules.resolve() / module for module in _TEXT_MODULES}
        return [f"text_encoder.{name}={json.dumps(str(path))}" for name, path in kept.items() if path.is_dir()]

    @property
    def has_image_encoder(self):
        return (self.path / _ENCODER_WEIGHTS).exists()


def check_same_run(run, task):
    """Raises `TrainingError`, naming what differs, where a run directory is not that of this config and data."""
    before = load_config(run.config_file)
    if run.last_checkpoint() is None and tf.train.latest_checkpoint(str(run.best)):
        raise TrainingError(
            f"`{run.path}` joins other runs and was not trained itself, so there is nothing to resume. Start a new run "
            f"directory from it (--init-from {run.path})."
        )
    names = [name for name in differences(before, task.config) if name not in _FREE_TO_CHANGE]
    if names:
        old, new = _flat(before), _flat(task.config)
        lines = "".join(f"\n  {name}: {old[name]!r} there, {new[name]!r} now" for name in names)
        raise TrainingError(
            f"`{run.path}` is a run with other settings:{lines}\nResume it with its own, or start a new run directory "
            f"from its weights (--init-from {run.path})."
        )
    known = _read_json(run.path / "data.json")
    changed = [split for split, value in _fingerprints(task).items() if known.get(split) != value]
    if changed:
        raise TrainingError(
            f"The data of split {', '.join(changed)} is not what the run in `{run.path}` was started with. Restore it, "
            f"or start a new run directory from its weights (--init-from {run.path})."
        )


def _fingerprints(task):
    splits = (task.config.data.train_split, task.config.data.dev_split)
    return {
        split: {"images": len(task.source(split)), "fingerprint": task.source(split).fingerprint} for split in splits
    }


def load_run(run_dir, weights="auto", overrides=(), precision=None):
    """Loads a trained run to use it.

    Args:
        run_dir: folder that `train` or `ensemble` wrote.
        weights: `best`: those of the best development measure; `last`: of the last checkpoint; `ema`: the moving
            average in the last checkpoint; `auto`: `best` where there is one, else `last`.
        overrides: `"data.…=value"`, e.g. for other data, `"generation.…=value"`, `"retrieval.rerank_…=value"` and
            `"retrieval.querybank=value"` strings.
        precision: to compute in; None: as it was trained.

    Returns:
        `(config, task, model, which)`, `model` as the task builds it; `which` says in words which weights these are.

    Raises:
        TrainingError: there is no run, or none of these weights in it, or they cannot be read, or an override is of
            another section.
    """
    run = RunDir(run_dir)
    if not run.config_file.exists():
        raise TrainingError(f"`{run.path}` holds no run: it has no config.yaml.")
    for override in overrides:
        if not override.strip().startswith(_FOR_USE):
            raise TrainingError(
                "Only data.…, generation.…, retrieval.rerank_… and retrieval.querybank can be set for a trained run; "
                f"got `{override}`."
            )
    config = load_config(run.config_file, [*overrides, *run.text_module_settings()])
    _check_answer_length(run, config)
    task = TASKS[config.task](
        config,
        encoder_weights="none" if run.has_image_encoder else None,
        jit_compile=use_jit(config.training.jit_compile, tf.distribute.get_strategy()),
    )
    task.load_vocabularies(run.path)
    with keras_settings(precision or config.training.precision):
        model = task.build()
    if run.has_image_encoder:
        run.load_image_encoder(model.image_encoder)
    which = _restore(run, task, model, weights)
    measured = run.read_measures().get("best" if which.startswith("best") else "last", {})
    task.use_measures(measured.get("measures", {}))
    return config, task, model, which


def _check_answer_length(run, config):
    """Raises `TrainingError` where answers of a length are asked for that the weights of a run are not made for."""
    if config.task != "free_form_vqa" or config.model.decoder != "transformer":
        return
    known, wanted = load_config(run.config_file).generation.max_length, config.generation.max_length
    if wanted != known:
        raise TrainingError(
            "`generation.max_length` of a free_form_vqa run with a Transformer decoder is that of its training, "
            f"{known} in `{run.path}`; got {wanted}. Leave it out, or train a run with it."
        )


def weights_name(which):
    """`best`, `last` or `ema`, of the words in which `load_run` says which weights it loaded."""
    return "ema" if which.startswith("moving") else which.replace(":", " ").split()[0]


def _restore(run, task, model, weights):
    if weights not in ("auto", "best", "last", "ema"):
        raise TrainingError(f"`weights` must be auto, best, last or ema; got {weights!r}.")
    best, last = tf.train.latest_checkpoint(str(run.best)), run.last_checkpoint()
    if weights == "auto":
        weights = "best" if best else "last"
    path = best if weights == "best" else last
    if path is None:
        why = "it has only best ones" if best else "it was stopped before its first checkpoint was written"
        raise TrainingError(f"`{run.path}` has no {weights} weights; {why}.")
    values = task.weights(model)
    _read(path, weights=values)
    if weights == "best":
        return f"best: {run.read_measures()['best']['which']}"
    step = int(tf.train.load_variable(str(path), "step/.ATTRIBUTES/VARIABLE_VALUE"))
    if weights == "ema":
        if not load_config(run.config_file).training.ema_decay:
            raise TrainingError(f"`{run.path}` keeps no moving average (`training.ema_decay` is 0); take last or best.")
        trained = trained_weights(model.training_model, values)
        _read(path, averages=trained)
        return f"moving average of the weights at {path.parent.name} step {step}"
    return f"last weights, {path.parent.name} step {step}"


def _read(path, **parts):
    """Fills `weights` or `averages` from a checkpoint."""
    try:
        tf.train.Checkpoint(**parts).restore(str(path)).assert_existing_objects_matched().expect_partial()
    except (tf.errors.OpError, IndexError, RuntimeError) as error:  # as TensorFlow's two readers put it
        raise TrainingError(
            f"The checkpoint {path} cannot be read ({first_line(error)}); put a whole copy in its place, or choose "
            "other weights (--weights)."
        ) from error
    except (AssertionError, ValueError) as error:
        raise TrainingError(
            f"The checkpoint {path} is not of the model that this run's config.yaml and vocabulary describe "
            f"({first_line(error)}); put the run's own files back in their places, or choose other weights (--weights)."
        ) from error


def trained_weights(model, weights):
    """Of a dict of part -> variables, those that `model` trains."""
    trained = {id(variable) for variable in model.trainable_variables}
    return {part: [v for v in variables if id(v) in trained] for part, variables in weights.items()}


def _read_json(path):
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise TrainingError(f"`{path}` is no JSON ({error}); put a whole copy in its place.") from None


def write_json(path, values):
    """Writes a JSON file that is there whole or not at all."""
    part = path.with_name(f"{path.name}.part")
    part.write_text(json.dumps(values, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    os.replace(part, path)


def _flat(config, prefix=""):
    values = {}
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        if dataclasses.is_dataclass(value):
            values.update(_flat(value, f"{prefix}{field.name}."))
        else:
            values[f"{prefix}{field.name}"] = value
    return values


def differences(before, after):
    """Names, as `section.key`, of the settings in which two `Config`s differ."""
    old, new = _flat(before), _flat(after)
    return [name for name in new if old[name] != new[name]]
