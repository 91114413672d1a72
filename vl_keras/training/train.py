"""Trains one experiment into a run directory."""

from vl_keras.errors import RunError
from vl_keras.runs.history import History
from vl_keras.runs.run_dir import FIRST_PHASE, RunDir, check_same_run
from vl_keras.runs.strategy import check_batch_size, from_chief, is_chief, keras_settings, make_strategy, use_jit
from vl_keras.tasks import TASKS
from vl_keras.tasks.embedding.contrastive_model import ContrastiveModel
from vl_keras.tasks.writing.self_critical import self_critical_training
from vl_keras.training.batches import accumulated, distributed
from vl_keras.training.fit_phase import fit_phase
from vl_keras.training.initialise import Start
from vl_keras.training.optimizer import WarmupCosine, build_optimizer
from vl_keras.training.phase import Phase
from vl_keras.training.session import Session
from vl_keras.training.stop_signal import StopSignal
from vl_keras.training.training_model import TrainingModel


def train(config, run_dir, resume=False, init_from=None):
    """Trains the model of a task; a captioner has a second phase where `training.self_critical.epochs` asks for it.

    Args:
        config: `Config`.
        run_dir: folder that gets everything; see `RunDir`. Must be empty or absent, unless `resume`.
        resume: go on where the run in `run_dir` was stopped, however that was; it ends with the weights of a run that
            never was. Needs the settings that it was started with.
        init_from: folder of a trained run to start from: its weights are taken, and its vocabulary, which is extended
            by frequent words of the training captions that it lacks, as far as `text.vocab_size` allows.

    Returns:
        The contents of `measures.json`: the best and the last development measures.

    Raises:
        DataError: a split has nothing to learn from or to be measured with.
        QuarantineError: more images than `data.max_bad_share` cannot be read.
        RunError: the run directory does not suit, the loss is no finite number, a checkpoint cannot be written, …;
            the message says what to do.
        TrainingStopped: SIGTERM or Ctrl-C; the state is saved, and the exit code is 143 or 130.
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


def _train(config, strategy, run, resume, init_from):
    jit_compile = use_jit(config.training.jit_compile, strategy, run.log)
    start = Start(init_from) if init_from is not None and not resume else None
    # A frozen encoder's weights come from the run, whatever has become of the file they were once read from.
    kept = run.has_image_encoder if resume else start is not None and not config.image_encoder.trainable_from
    task = TASKS[config.task](config, encoder_weights="none" if kept else None, jit_compile=jit_compile)
    if resume:
        check_same_run(run, task)
        task.load_vocabularies(run.path)
    elif start is not None:
        start.give_vocabularies(task, run.log)
    run.log("Reading the data and building the model.")
    task.check_data()  # what it finds would otherwise be found at the end of the first epoch
    with strategy.scope():
        model = task.build()
    if start is not None:
        start.fill(task, model, run.log)
    else:
        if resume and kept:
            run.load_image_encoder(model.image_encoder)
        if run.last_checkpoint() is None:
            task.start_fresh(model, run.log)
    with task.quarantine_errors():
        return _fit(task, model, strategy, run, resume, init_from, jit_compile)


def _fit(task, model, strategy, run, resume, init_from, jit_compile):
    for split in (task.config.data.train_split, task.config.data.dev_split):
        task.features(model, split)
    task.recalling(model)  # a memory that does not go with it would otherwise be found after an epoch
    signal = StopSignal()
    session = Session(task, model, strategy, run, History(run.history_file, run.writes), signal)
    if resume and run.writes:
        run.describe_start()
    with signal:
        phase = first_phase(session, jit_compile)
        fit_phase(session, phase, on_start=lambda: run.write_settings(task, model, init_from))
        if task.config.training.self_critical.epochs:
            self_critical_training(session, first_step=phase.steps_per_epoch * phase.epochs)
    from_chief(strategy, 0.0)  # a worker that leaves before the others looks to them as if it had crashed
    return run.read_metrics()


def first_phase(session, jit_compile=False):
    """The first `Phase`: the task's loss under AdamW with warm-up and cosine decay."""
    task, built, training = session.task, session.model, session.config.training
    group = training.accumulate_steps
    steps = task.steps_per_epoch() // group
    if not steps:
        raise RunError(
            f"`training.accumulate_steps` is {group}, but an epoch has only {task.steps_per_epoch()} batches; lower it."
        )
    total = steps * training.epochs
    warmup = min(training.warmup_steps, total // 2)
    if warmup < training.warmup_steps and total:
        session.log(f"Warm-up is {warmup} steps, half of this short training, not {training.warmup_steps}.")
    with session.strategy.scope():
        kind = ContrastiveModel if session.config.task == "retrieval" else TrainingModel
        model = kind(built.training_model.input, built.training_model.output, group)
        optimizer = build_optimizer(
            model.trainable_variables,
            WarmupCosine(training.learning_rate, warmup, total),
            weight_decay=training.weight_decay,
            clip_norm=training.clip_norm,
            ema_decay=training.ema_decay,
            loss_scaling=training.precision == "mixed_float16",
        )
        model.compile(optimizer, loss=task.loss(), jit_compile=jit_compile)

    def data(step):
        def of_worker(num_workers, worker):
            return accumulated(task.training_data(built, step * group, num_workers, worker), group)

        return distributed(of_worker, session.strategy, session.config.data.batch_size, batch_axis=int(group > 1))

    return Phase(FIRST_PHASE, model, data, steps, training.epochs)
