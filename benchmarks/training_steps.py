"""Training steps of a config, to be timed in turn with those of another."""

import time
from collections.abc import Callable

from vl_keras.training.training_model import TrainingModel

import vl_keras  # noqa: F401  selects Keras 2 before TensorFlow is imported
from vl_keras.config import Config
from vl_keras.tasks import TASKS
from vl_keras.training.optimizer import build_optimizer


def stepper(config: Config) -> tuple[Callable[[int], float], int]:
    """Builds a model and returns `(run, steps per epoch)`; `run(steps)` trains and returns the seconds per step.

    Data, model, loss and optimizer are those of the task. Each call of `run` creates a new iterator and does not time
    its first step: an idle iterator would fill its buffers during the turn of the other config.
    """
    task = TASKS[config.task](config)
    built = task.build()
    model = TrainingModel(built.training_model.input, built.training_model.output)
    model.compile(build_optimizer(model.trainable_variables, config.training.learning_rate), loss=task.loss())
    data = task.training_data(built)
    train = model.make_train_function()

    def run(steps: int) -> float:
        batches = iter(data)
        train(batches)
        started = time.perf_counter()
        for _ in range(steps):
            train(batches)
        return (time.perf_counter() - started) / steps

    run(1)
    return run, task.steps_per_epoch()
