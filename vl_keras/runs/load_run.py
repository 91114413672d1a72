"""Loads a trained run, to use it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import tensorflow as tf
import tf_keras as keras

from vl_keras.config import Config, load_config
from vl_keras.errors import RunError, first_line
from vl_keras.runs.run_dir import RunDir
from vl_keras.runs.strategy import keras_settings, use_jit
from vl_keras.tasks import TASKS
from vl_keras.tasks.task import Task


def load_run(
    run_dir: str | Path, weights: str = "auto", overrides: Sequence[str] = (), precision: str | None = None
) -> tuple[Config, Task, Any, str]:
    """Loads a trained run, to use it.

    Args:
        run_dir: folder that `train` or `ensemble` wrote.
        weights: `best`: the weights with the best development metric; `last`: the weights of the last checkpoint;
            `ema`: the moving average in the last checkpoint; `auto`: `best` if the run has them, else `last`.
        overrides: `"section.key=value"` strings for settings that the task names in `run_settings`.
        precision: precision policy to compute in; None: the one it was trained in.

    Returns:
        `(config, task, model, which)`: `model` is what the task builds; `which` describes the weights in words.

    Raises:
        RunError: there is no run, it has no such weights, they cannot be read, or an override sets another setting or
            does not fit the trained weights.
    """
    run = RunDir(run_dir)
    if not run.config_file.exists():
        raise RunError(f"`{run.path}` holds no run: it has no config.yaml.")
    trained = load_config(run.config_file, of_run=True)
    task_class = TASKS[trained.task]
    for override in overrides:
        if not override.strip().startswith(task_class.run_settings):
            names = ", ".join(name if not name.endswith((".", "_")) else f"{name}…" for name in task_class.run_settings)
            raise RunError(f"For a trained run of the task {trained.task}, only {names} can be set; got `{override}`.")
    config = load_config(run.config_file, [*overrides, *run.kept_settings(trained)], of_run=True)
    task = task_class(
        config,
        load_weights=False,  # the run has its own, in its folder or in its checkpoint
        jit_compile=use_jit(config.training.jit_compile, tf.distribute.get_strategy()),
    )
    task.check_overrides(trained)
    task.load_vocabularies(run.path)
    with keras_settings(precision or config.training.precision):
        model = task.build()
    if run.has_image_encoder:
        run.load_image_encoder(model.image_encoder)
    which = _restore(run, task, model, weights)
    measured = run.read_metrics().get("best" if which.startswith("best") else "last", {})
    task.use_metrics(measured.get("measures", {}))
    return config, task, model, which


def weights_name(which: str) -> str:
    """`best`, `last` or `ema`, from the words in which `load_run` describes the weights."""
    return "ema" if which.startswith("moving") else which.replace(":", " ").split()[0]


def _restore(run: RunDir, task: Task, model: Any, weights: str) -> str:
    if weights not in ("auto", "best", "last", "ema"):
        raise RunError(f"`weights` must be auto, best, last or ema; got {weights!r}.")
    best = tf.train.latest_checkpoint(str(run.best))
    last = run.last_checkpoint((*task.renamed_phases, *task.phase_names))
    if weights == "auto":
        weights = "best" if best else "last"
    path = best if weights == "best" else last
    if path is None:
        why = "it has only best ones" if best else "it was stopped before its first checkpoint was written"
        raise RunError(f"`{run.path}` has no {weights} weights; {why}.")
    values = task.weights(model)
    _read(path, weights=values)
    if weights == "best":
        return f"best: {run.read_metrics()['best']['which']}"
    step = int(tf.train.load_variable(str(path), "step/.ATTRIBUTES/VARIABLE_VALUE"))
    if weights == "ema":
        if not load_config(run.config_file, of_run=True).training.ema_decay:
            raise RunError(f"`{run.path}` keeps no moving average (`training.ema_decay` is 0); take last or best.")
        trained = trained_weights(model.training_model, values)
        _read(path, averages=trained)
        return f"moving average of the weights at {path.parent.name} step {step}"
    return f"last weights, {path.parent.name} step {step}"


def _read(path: str | Path, **parts: Any) -> None:
    """Fills `weights` or `averages` from a checkpoint."""
    try:
        tf.train.Checkpoint(**parts).restore(str(path)).assert_existing_objects_matched().expect_partial()
    except (tf.errors.OpError, IndexError, RuntimeError) as error:  # raised by TensorFlow's two readers
        raise RunError(
            f"The checkpoint {path} cannot be read ({first_line(error)}); put a whole copy in its place, or choose "
            "other weights (--weights)."
        ) from error
    except (AssertionError, ValueError) as error:
        raise RunError(
            f"The checkpoint {path} is not of the model that this run's config.yaml and vocabulary describe "
            f"({first_line(error)}); put the run's own files back in their places, or choose other weights (--weights)."
        ) from error


def trained_weights(model: keras.Model, weights: dict[str, list[tf.Variable]]) -> dict[str, list[tf.Variable]]:
    """The variables that `model` trains, from a dict of part -> variables."""
    trained = {id(variable) for variable in model.trainable_variables}
    return {part: [v for v in variables if id(v) in trained] for part, variables in weights.items()}
