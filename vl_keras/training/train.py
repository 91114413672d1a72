"""Trains one experiment into a run directory."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import tensorflow as tf

from vl_keras.config import Config, config_from_dict, config_to_dict, load_config
from vl_keras.errors import VlKerasError
from vl_keras.runs.history import History
from vl_keras.runs.model_card import write_model_card
from vl_keras.runs.run_dir import RunDir
from vl_keras.runs.same_run import check_same_run
from vl_keras.runs.strategy import check_batch_size, from_chief, is_chief, keras_settings, make_strategy, use_jit
from vl_keras.tasks import TASKS
from vl_keras.tasks.phase_plan import PhasePlan
from vl_keras.tasks.task import Task
from vl_keras.training.batches import accumulated, distributed
from vl_keras.training.closing_lines import closing_lines
from vl_keras.training.development_loss import DevelopmentLoss
from vl_keras.training.fit_phase import fit_phase
from vl_keras.training.initialise import Start
from vl_keras.training.optimizer import WarmupCosine, build_optimizer
from vl_keras.training.phase import Phase
from vl_keras.training.session import Session
from vl_keras.training.stop_signal import StopSignal


def train(
    config: Config, run_dir: str | Path, resume: bool = False, init_from: str | Path | None = None
) -> dict[str, Any]:
    """Trains the model of a task through all its phases.

    Args:
        config: `Config`.
        run_dir: folder of the run; see `RunDir`. Must be empty or not exist, unless `resume`.
        resume: continue the run in `run_dir` from where it stopped, whatever stopped it; it ends with the weights of a
            run that was never stopped. The settings must be those that it was started with; only the number of
            epochs may have grown, see `check_same_run`.
        init_from: folder of a trained run to start from, of this task or another; see `Start`.

    Returns:
        The contents of `measures.json`: the best and the last development metrics.

    Raises:
        DataError: a split has nothing to learn from or to evaluate with.
        QuarantineError: more images than `data.max_bad_share` cannot be read.
        RunError: the run directory cannot be used, the loss is not finite, a checkpoint cannot be written, …; the
            message says what to do.
        TrainingStopped: SIGTERM, Ctrl-C, SIGHUP or SIGUSR1; the state is saved, and the exit code is 128 plus the
            signal's number.
    """
    strategy = make_strategy(config.training.strategy)
    check_batch_size(config.data.batch_size, strategy)
    run = RunDir(run_dir)
    run.open(resume, is_chief(strategy))
    try:
        with keras_settings(config.training.precision, config.training.seed):
            return _train(config, strategy, run, resume, init_from)
    finally:
        run.close()


def _train(
    config: Config, strategy: tf.distribute.Strategy, run: RunDir, resume: bool, init_from: str | Path | None
) -> dict[str, Any]:
    jit_compile = use_jit(config.training.jit_compile, strategy, run.log)
    start = Start(init_from) if init_from is not None and not resume else None
    # A run keeps the weights of its image encoder, so the file that they were read from is not needed again.
    kept = resume or (start is not None and start.has_image_encoder_of(config))

    def make_task(config: Config) -> Task:
        # What a run was started with may have moved: it has its own copies of networks and hub modules.
        own = config_from_dict(config_to_dict(config), run.kept_settings(config)) if resume else config
        return TASKS[config.task](own, load_weights=not kept, jit_compile=jit_compile)

    task = make_task(config)
    fitting = fitting_batch_size(config, task, strategy.num_replicas_in_sync, run.log)
    if fitting is not config:
        config, task = fitting, make_task(fitting)
    if resume:
        grown = check_same_run(run, task, config)
        if grown:
            run.log(f"Extended to {', '.join(grown)}: the learning rate is now that of a training of that length.")
            run.write_config(load_config(run.config_file, grown, of_run=True))
        run.rename_phases(task.renamed_phases)
        from_chief(strategy, 0.0)  # the other workers wait until the chief has done both
        task.load_vocabularies(run.path)
    elif start is not None:
        start.give_vocabularies(task, run.log)
    run.log("Reading the data and building the model.")
    task.check_data()  # now, not at the end of the first epoch
    with strategy.scope():
        model = task.build()
    if start is not None:
        start.fill(task, model, run.log)
    else:
        if run.has_image_encoder and resume:
            run.load_image_encoder(model.image_encoder)
        if run.last_checkpoint(task.phase_names) is None:
            task.start_fresh(model, run.log)
    with task.quarantine_errors():
        return _fit(task, model, strategy, run, resume, init_from, jit_compile)


def fitting_batch_size(config: Config, task: Task, replicas: int, log: Callable[[str], None]) -> Config:
    """The config with a batch size that the training split can fill: at most its number of images.

    Args:
        config: `Config`.
        task: `Task` of the config.
        replicas: number of replicas that share a batch evenly.
        log: called with a line if the batch size is lowered.
    """
    split, size = config.data.train_split, config.data.batch_size
    images = len(task.source(split))
    lowered = images // replicas * replicas
    if size <= images or not lowered:
        return config
    log(f"`data.batch_size` is {lowered}, since split `{split}` has only {images} images, not {size}.")
    return dataclasses.replace(config, data=dataclasses.replace(config.data, batch_size=lowered))


def _fit(
    task: Task,
    model: Any,
    strategy: tf.distribute.Strategy,
    run: RunDir,
    resume: bool,
    init_from: str | Path | None,
    jit_compile: bool,
) -> dict[str, Any]:
    for split in (task.config.data.train_split, task.config.data.dev_split):
        task.features(model, split)
    task.prepare(model)  # a memory that does not fit is found now, not after an epoch
    signal = StopSignal()
    session = Session(task, model, strategy, run, History(run.history_file, run.writes), signal)
    if resume and run.writes:
        run.describe_start()
    with _model_card(run), signal:
        first_step = 0
        on_start: Callable[[], Any] | None = lambda: run.write_settings(task, model, init_from)  # noqa: E731
        session.plans = task.phases(model, run.log)
        for plan in session.plans:
            fit_phase(session, make_phase(session, plan, first_step, jit_compile), on_start)
            first_step, on_start = first_step + plan.steps_per_epoch * plan.epochs, None
    from_chief(strategy, 0.0)  # to the others, a worker that exits early looks like one that crashed
    for line in closing_lines(task, session.plans, session.history, run.path):
        run.log(line)
    return run.read_metrics()


@contextlib.contextmanager
def _model_card(run: RunDir) -> Iterator[None]:
    """Writes the model card however training ends, even if a signal stops it; a card that fails stops nothing."""
    try:
        yield
    finally:
        with contextlib.suppress(OSError, VlKerasError):
            write_model_card(run)


def make_phase(session: Session, plan: PhasePlan, first_step: int = 0, jit_compile: bool = False) -> Phase:
    """The `Phase` of a `PhasePlan`: its model compiled with AdamW, warm-up and cosine decay.

    Args:
        session: of the run.
        plan: of the task.
        first_step: number of steps in the phases before; the data continues where they stopped.
        jit_compile: compile the step with XLA if the plan allows it.
    """
    training, group = session.config.training, plan.accumulate_steps
    begun = tf.train.latest_checkpoint(str(session.run.checkpoints / plan.name))
    if plan.from_best and begun is None and tf.train.latest_checkpoint(str(session.run.best)):
        session.load_best()
    with session.strategy.scope():
        model = plan.make_model()
        optimizer = build_optimizer(
            model.trainable_variables,
            WarmupCosine(plan.learning_rate, plan.warmup_steps, plan.steps_per_epoch * plan.epochs),
            weight_decay=plan.weight_decay,
            clip_norm=training.clip_norm,
            ema_decay=training.ema_decay,
            loss_scaling=training.precision == "mixed_float16",
        )
        model.compile(optimizer, loss=plan.loss, jit_compile=jit_compile and plan.jit_compile)

    def data(step: int) -> tf.data.Dataset:
        def of_worker(num_workers: int, worker: int) -> tf.data.Dataset:
            return accumulated(plan.data(first_step + step * group, num_workers, worker), group)

        return distributed(of_worker, session.strategy, session.config.data.batch_size, batch_axis=int(group > 1))

    loss = DevelopmentLoss(session.task, session.model, model, session.strategy, group, session.log)
    return Phase(plan.name, model, data, plan.steps_per_epoch, plan.epochs, first_step, plan.from_best, loss)
