"""A finished run goes on to a higher number of epochs, as one training of that length from there."""

import shutil

import pytest

from vl_keras.config import load_config
from vl_keras.errors import RunError, TrainingStopped
from vl_keras.runs.history import History
from vl_keras.training.optimizer import WarmupCosine
from vl_keras.training.train import train


def test_an_extended_run_has_the_schedule_of_its_new_length(small_config, trained_run, tmp_path):
    run, config = shutil.copytree(trained_run, tmp_path / "run"), small_config("training.epochs=4")
    train(config, run, resume=True)
    before, rows = History(trained_run / "history.csv").rows, History(run / "history.csv").rows
    assert rows[:2] == before and [row["step"] for row in rows] == [5, 10, 15, 20]
    schedule = WarmupCosine(config.training.learning_rate, 3, 20)
    last = [float(schedule(row["step"] - 1)) for row in rows[2:]]  # the rate of an epoch's last step
    assert [row["learning_rate"] for row in rows[2:]] == pytest.approx(last, rel=1e-6) and float(schedule(20)) == 0
    assert load_config(run / "config.yaml") == config
    assert "Extended to training.epochs=4: the learning rate is now that" in (run / "train.log").read_text()
    with pytest.raises(RunError, match=r"training.epochs` of the run in .* is 4 and can only grow; got 2.*epochs=4"):
        train(small_config(), run, resume=True)
    with pytest.raises(RunError, match="other settings:\n  training.warmup_steps: 3 there, 2 now\nResume"):
        train(small_config("training.epochs=9", "training.warmup_steps=2"), run, resume=True)


@pytest.mark.slow  # three trainings
def test_an_extended_run_is_itself_stopped_and_resumed(small_config, trained_run, tmp_path, signal_at, assert_same_run):
    config = small_config("training.epochs=4")
    unbroken, run = (shutil.copytree(trained_run, tmp_path / name) for name in ("unbroken", "stopped"))
    train(config, unbroken, resume=True)
    signal_at("cross_entropy epoch 3/4", 2)
    with pytest.raises(TrainingStopped):
        train(config, run, resume=True)
    train(config, run, resume=True)
    assert_same_run(run, unbroken)
    assert (run / "train.log").read_text().count("Extended to") == 1
