"""A stopped training of question answering or retrieval ends as if nothing had happened, accumulated steps included."""

import pytest

from vl_keras.errors import TrainingStopped
from vl_keras.training.train import train

pytestmark = pytest.mark.slow  # each trains a run of its task


@pytest.mark.parametrize("task", ["vqa", "retrieval"])
def test_a_stopped_run_ends_as_an_unbroken_one(task, signal_at, tmp_path, task_config, task_run, assert_same_run):
    signal_at("cross_entropy epoch 1/1", 2)
    with pytest.raises(TrainingStopped):
        train(task_config(task), tmp_path)
    train(task_config(task), tmp_path, resume=True)
    assert "Resuming cross_entropy at step 2 of 5" in (tmp_path / "train.log").read_text()
    assert_same_run(tmp_path, task_run(task))
