"""Joins trained runs into one model that predicts by the mean of their logits."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from vl_keras.config import Config, config_from_dict, config_to_dict, load_config, save_config
from vl_keras.encoders.encoder_fingerprint import encoder_fingerprint
from vl_keras.errors import RunError
from vl_keras.json_files import write_json
from vl_keras.progress import Progress
from vl_keras.runs.load_run import load_run
from vl_keras.runs.model_card import write_model_card
from vl_keras.runs.run_dir import RunDir
from vl_keras.runs.same_run import differences
from vl_keras.runs.strategy import keras_settings, use_jit
from vl_keras.tasks import TASKS
from vl_keras.tasks.task import Task

Member = tuple[Config, Task, Any, str]  # what `load_run` returns

_COMMON = (  # settings that must be equal in all members
    "model.decoder",
    "model.hidden_dim",
    "model.num_heads",
    "model.num_layers",
    "model.image_layers",
    "model.intermediate_dim",
    "text.max_length",
    "text_encoder.max_length",
    "data.image_size",
    "data.context",
)


def ensemble(
    run_dirs: Sequence[str | Path], run_dir: str | Path, overrides: Sequence[str] = (), weights: str = "auto"
) -> dict[str, Any]:
    """Joins runs into one run, and evaluates it on the development split.

    The result is used like any other run, and `train` can start from it if `model.members` is the number of members. A
    prediction takes as long as the predictions of all members together. Members complement each other best if they were
    trained from different initial weights (`training.seed`).

    Args:
        run_dirs: folders of at least two trained runs of a task that can `join`, with one vocabulary, one kind of
            decoder and the same encoders, their weights included.
        run_dir: folder of the new run; must be empty or not exist.
        overrides: `"data.…=value"` and `"generation.…=value"` strings, which the new run keeps; all its other settings
            are those of the first run.
        weights: which weights of each run: `auto`, `best`, `last` or `ema`; see `load_run`.

    Returns:
        The contents of the new run's `measures.json`: `best`, its development metrics, and `members`, with the run and
        the weights of each member in words.

    Raises:
        RunError: there are fewer than two runs, they cannot be joined, one cannot be loaded, or `run_dir` is not empty.
    """
    different = {Path(path).expanduser().resolve() for path in run_dirs}
    if len(run_dirs) < 2 or len(different) < len(run_dirs):
        raise RunError(f"An ensemble joins two different runs or more; got {', '.join(map(str, run_dirs))}.")
    run = RunDir(run_dir)
    run.open(resume=False)
    try:
        # In one precision, because the fingerprints of encoders depend on it; weights are float32 in every precision.
        members = [load_run(path, weights, overrides, precision="float32") for path in run_dirs]
        _check(run_dirs, members)
        return _join(run_dirs, members, run)
    finally:
        run.close()


def _join(run_dirs: Sequence[str | Path], members: Sequence[Member], run: RunDir) -> dict[str, Any]:
    first_config, first_task, _, _ = members[0]
    config = config_from_dict(
        config_to_dict(first_config),
        [*first_task.join_settings(len(members)), "training.epochs=0"],  # not trained here
    )
    jit_compile = use_jit(config.training.jit_compile, tf.distribute.get_strategy())
    task = TASKS[config.task](config, first_task.tokenizer, load_weights=False, jit_compile=jit_compile)
    task.check_data()
    with keras_settings(config.training.precision):
        model = task.build()
    task.join(model, [(member_task, member) for _, member_task, member, _ in members])

    split = config.data.dev_split
    with task.quarantine_errors(), Progress(f"metrics of {split}", len(task.source(split)), "image") as progress:
        metrics, signature = task.epoch_metrics(model, split, progress=progress.to, weights="ensemble")
    joined = {
        "which": f"{len(members)} models together, {task.monitor} {metrics[task.monitor]:.4f}",
        "phase": "ensemble",
        "epoch": 0,
        "step": 0,
        "measures": metrics,
        "signature": signature,
    }
    known = [{"run": str(path), "weights": which} for path, (_, _, _, which) in zip(run_dirs, members, strict=True)]
    result = {"best": joined, "members": known}
    tf.train.CheckpointManager(tf.train.Checkpoint(weights=task.weights(model)), str(run.best), max_to_keep=1).save(0)
    write_json(run.metrics_file, result)
    if task.source(split).quarantine:
        task.source(split).quarantine.save(run.quarantine_file)
    run.write_settings(task, model)
    # The first run's modules have been copied. The new config names the original modules, not the first run's copies.
    kept = load_config(RunDir(run_dirs[0]).config_file, of_run=True).text_encoder
    save_config(dataclasses.replace(config, text_encoder=kept), run.config_file)
    write_model_card(run)
    return result


def _check(run_dirs: Sequence[str | Path], members: Sequence[Member]) -> None:
    """Raises `RunError` if the runs cannot be joined into one model."""
    for path, (config, task, *_) in zip(run_dirs, members, strict=True):
        if config.task != members[0][0].task:
            raise RunError(
                f"`{path}` is a {config.task} run and `{run_dirs[0]}` a {members[0][0].task} run; an ensemble joins "
                "runs of one task."
            )
        try:
            task.join_settings(len(members))
        except RunError as error:
            raise RunError(f"`{path}` cannot be joined: {error}") from error
    config, task, model, _ = members[0]
    encoder = encoder_fingerprint(model.image_encoder)
    for path, (other, other_task, other_model, _) in zip(run_dirs[1:], members[1:], strict=True):
        misfit = f"`{path}` and `{run_dirs[0]}` cannot be joined: "
        names = [name for name in differences(config, other) if name in _COMMON]
        if names:
            raise RunError(f"{misfit}they differ in {', '.join(names)}.")
        if task.tokenizer.vocab != other_task.tokenizer.vocab:
            vocabulary = Path(run_dirs[0]) / "vocabulary.txt"
            raise RunError(f"{misfit}their vocabularies differ. Train one of them with text.vocabulary={vocabulary}.")
        if encoder != encoder_fingerprint(other_model.image_encoder):
            raise RunError(
                f"{misfit}their image encoders differ. Train both with the same image_encoder.weights and "
                "image_encoder.trainable_from empty, or one from the other (--init-from)."
            )
        if not _equal(_text_weights(task), _text_weights(other_task)):
            raise RunError(
                f"{misfit}their text encoders differ. Train both with the same text_encoder.encoder and "
                "text_encoder.trainable false."
            )


def _text_weights(task: Task) -> list[np.ndarray]:
    return [] if task.text_encoder is None else task.text_encoder.model.get_weights()


def _equal(some: Sequence[np.ndarray], others: Sequence[np.ndarray]) -> bool:
    return len(some) == len(others) and all(map(np.array_equal, some, others))
