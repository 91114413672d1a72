"""However a training is stopped, it goes on and ends as if nothing had happened."""

import os
import signal

import numpy as np
import pytest

from vl_keras.training.errors import TrainingError, TrainingStopped
from vl_keras.training.history import History
from vl_keras.training.progress import Progress
from vl_keras.training.train import train

TIMES = ("seconds", "evaluation_seconds")


@pytest.fixture
def signal_at(monkeypatch):
    """Function that has a signal come when the progress named so is at `done`, once."""

    def at(name, done, number=signal.SIGTERM):
        own, sent = Progress.to, []

        def to(self, now, note=None):
            own(self, now, note)
            if self.name == name and now == done and not sent:
                sent.append(number)
                os.kill(os.getpid(), number)

        monkeypatch.setattr(Progress, "to", to)

    return at


@pytest.fixture
def assert_same_run(trained_run, checkpoint_values):
    """Function that compares a run with the one that nobody stopped: all state bit for bit, and all that is written."""

    def compare(run_dir):
        ours, theirs = checkpoint_values(run_dir), checkpoint_values(trained_run)
        assert set(ours) == set(theirs) and any(name.startswith("generators/") for name in ours)
        for name in theirs:
            np.testing.assert_array_equal(ours[name], theirs[name], err_msg=name)
        rows = [
            [
                {key: value for key, value in row.items() if key not in TIMES}
                for row in History(path / "history.csv").rows
            ]
            for path in (run_dir, trained_run)
        ]
        assert rows[0] == rows[1]
        best = [(path / "measures.json").read_text() for path in (run_dir, trained_run)]
        assert best[0] == best[1]

    return compare


def test_kill_9_in_mid_epoch(start_training, tmp_path, small_config, assert_same_run):
    process = start_training(tmp_path, "--kill-at", "2", "3", overrides=["training.checkpoint_steps=2"])
    output, _ = process.communicate(timeout=300)
    assert process.returncode == -signal.SIGKILL, output
    train(small_config("training.checkpoint_steps=2"), tmp_path, resume=True)
    assert "Resuming cross_entropy at step 6 of 10" in (tmp_path / "train.log").read_text()
    assert_same_run(tmp_path)


def test_sigterm_while_training_and_while_measuring(signal_at, tmp_path, small_config, assert_same_run):
    signal_at("cross_entropy epoch 1/2", 3)
    with pytest.raises(TrainingStopped) as stopped:
        train(small_config(), tmp_path)
    assert stopped.value.code == 143
    signal_at("captions of dev", 5, signal.SIGINT)
    with pytest.raises(TrainingStopped) as stopped:
        train(small_config(), tmp_path, resume=True)
    assert stopped.value.code == 130
    train(small_config(), tmp_path, resume=True)
    log = (tmp_path / "train.log").read_text()
    assert "Resuming cross_entropy at step 3 of 10" in log and "Resuming cross_entropy at step 5 of 10" in log
    assert log.count("Stopped by a signal") == 2
    assert_same_run(tmp_path)


def test_signals_are_given_back(small_config, tmp_path):
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(TrainingError):
        train(small_config("data.batch_size=60", "training.accumulate_steps=2"), tmp_path)
    assert signal.getsignal(signal.SIGTERM) is before


def test_a_loss_that_is_no_number(tmp_path, small_config):
    config = small_config("training.learning_rate=1e30", "training.clip_norm=0", "training.warmup_steps=0")
    with pytest.raises(TrainingError, match=r"no (finite )?number.*|nan at step 5.*ckpt-0.*learning_rate"):
        train(config, tmp_path)
    assert not History(tmp_path / "history.csv").rows


@pytest.mark.slow
def test_a_training_without_progress_ends_early(tmp_path, small_config):
    config = small_config("training.learning_rate=1e-12", "training.epochs=9", "training.patience=1")
    train(config, tmp_path)
    assert [row["epoch"] for row in History(tmp_path / "history.csv").rows] == [1, 2]
    train(config, tmp_path, resume=True)
    assert len(History(tmp_path / "history.csv").rows) == 2
