"""However a training is stopped, it goes on and ends as if nothing had happened."""

import signal

import pytest

from vl_keras.errors import RunError, TrainingStopped
from vl_keras.runs.history import History
from vl_keras.training.train import train


@pytest.mark.slow  # trains in two processes, 40 seconds; test_contract.py resumes from what a kill leaves
def test_kill_9_in_mid_epoch(start_training, tmp_path, small_config, trained_run, assert_same_run):
    process = start_training(tmp_path, "--kill-at", "2", "3", overrides=["training.checkpoint_steps=2"])
    output, _ = process.communicate(timeout=300)
    assert process.returncode == -signal.SIGKILL, output
    train(small_config("training.checkpoint_steps=2"), tmp_path, resume=True)
    assert "Resuming cross_entropy at step 6 of 10" in (tmp_path / "train.log").read_text()
    assert_same_run(tmp_path, trained_run)


@pytest.mark.slow  # trains three times, half a minute
def test_sigterm_while_training_and_while_measuring(signal_at, tmp_path, small_config, trained_run, assert_same_run):
    signal_at("cross_entropy epoch 1/2", 3)
    with pytest.raises(TrainingStopped) as stopped:
        train(small_config(), tmp_path)
    assert stopped.value.code == 143
    signal_at("metrics of dev", 5, signal.SIGINT)
    with pytest.raises(TrainingStopped) as stopped:
        train(small_config(), tmp_path, resume=True)
    assert stopped.value.code == 130
    train(small_config(), tmp_path, resume=True)
    log = (tmp_path / "train.log").read_text()
    assert "Resuming cross_entropy at step 3 of 10" in log and "Resuming cross_entropy at step 5 of 10" in log
    assert log.count("Stopped by a signal") == 2
    assert_same_run(tmp_path, trained_run)


def test_a_loss_that_is_no_number(tmp_path, small_config):
    before = signal.getsignal(signal.SIGTERM)
    config = small_config("training.learning_rate=1e30", "training.clip_norm=0", "training.warmup_steps=0")
    with pytest.raises(RunError, match=r"no (finite )?number.*|nan at step 5.*ckpt-0.*learning_rate"):
        train(config, tmp_path)
    assert not History(tmp_path / "history.csv").rows
    assert signal.getsignal(signal.SIGTERM) is before  # the handlers come back


@pytest.mark.slow
def test_a_training_without_progress_ends_early(tmp_path, small_config):
    config = small_config("training.learning_rate=1e-12", "training.epochs=9", "training.patience=1")
    train(config, tmp_path)
    assert [row["epoch"] for row in History(tmp_path / "history.csv").rows] == [1, 2]
    train(config, tmp_path, resume=True)
    assert len(History(tmp_path / "history.csv").rows) == 2
