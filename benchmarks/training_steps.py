"""Steps of a config's training, to be timed in turn with another's."""

import time

from vl_keras.training.training_model import TrainingModel

import vl_keras  # noqa: F401  selects Keras 2 before TensorFlow is imported
from vl_keras.tasks import TASKS
from vl_keras.training.optimizer import build_optimizer


def stepper(config):
    """A function that trains a new model so many steps and returns the seconds of one; and the steps of an epoch.

    The task's own data, model, loss and optimizer. Every turn has an iterator of its own, whose first step is not
    timed: one that lived on would fill its buffers at the cost of whoever's turn it is.
    """
    task = TASKS[config.task](config)
    built = task.build()
    model = TrainingModel(built.training_model.input, built.training_model.output)
    model.compile(build_optimizer(model.trainable_variables, config.training.learning_rate), loss=task.loss())
    data = task.training_data(built)
    train = model.make_train_function()

    def run(steps):
        batches = iter(data)
        train(batches)
        started = time.perf_counter()
        for _ in range(steps):
            train(batches)
        return (time.perf_counter() - started) / steps

    run(1)
    return run, task.steps_per_epoch()
