"""A training split smaller than a batch, and an epoch of fewer batches than a step accumulates, train all the same."""

import pytest

from vl_keras.config import DataConfig
from vl_keras.runs.history import History
from vl_keras.tasks import TASKS
from vl_keras.training.train import fitting_batch_size, train

SMALL = ("data.max_examples=5", f"data.batch_size={DataConfig().batch_size}", "training.accumulate_steps=4")


@pytest.mark.parametrize("name", TASKS)
def test_batch_and_accumulation_are_lowered_with_a_line_each(name, task_config):
    config, said = task_config(name, *SMALL), []
    lowered = fitting_batch_size(config, TASKS[name](config), 1, said.append)
    task = TASKS[name](lowered)
    model = task.build()
    (plan, *_) = task.phases(model, said.append)
    assert (lowered.data.batch_size, plan.accumulate_steps, plan.steps_per_epoch) == (5, 1, 1)
    x, _, weight = next(iter(plan.data(0, 1, 0)))
    assert {len(value) for value in x.values()} == {5} and len(weight) == 5
    assert any("`data.batch_size` is 5" in line for line in said)
    assert any("`training.accumulate_steps` is 1" in line for line in said)


# Each is two trainings.
@pytest.mark.parametrize("name", [pytest.param(name, marks=pytest.mark.slow) for name in TASKS])
def test_such_a_training_is_resumed(name, task_config, tmp_path):
    train(task_config(name, *SMALL), tmp_path)
    train(task_config(name, *SMALL, "training.epochs=2"), tmp_path, resume=True)
    rows = History(tmp_path / "history.csv").rows
    assert [row["step"] for row in rows] == [1, 2] and all(row["dev_loss"] > 0 for row in rows)
    assert (tmp_path / "train.log").read_text().count("`data.batch_size` is 5") == 2
