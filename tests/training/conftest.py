"""A tiny experiment, and runs of it that several tests look at."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from small_run import SMALL, TINY

from vl_keras.progress import Progress
from vl_keras.runs.history import History

ROOT = Path(__file__).resolve().parents[2]
_TIMES = ("seconds", "evaluation_seconds")


@pytest.fixture
def start_training(data_dir):
    """Function that starts `run_training.py` in a process of its own: `(run_dir, *arguments, overrides=…, **env)`."""
    processes = []

    def start(run_dir, *arguments, overrides=(), **environment):
        script = Path(__file__).with_name("run_training.py")
        command = [sys.executable, str(script), str(TINY), str(run_dir), *arguments]
        command += ["--set", *SMALL, f"data.data_dir={data_dir}", *overrides]
        environment = {**os.environ, "PYTHONPATH": str(ROOT), **environment}
        process = subprocess.Popen(
            command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        processes.append(process)
        return process

    yield start
    for process in processes:
        if process.poll() is None:
            process.kill()
        process.communicate()


@pytest.fixture(scope="session")
def checkpoint_values():
    """Function of a run directory to the arrays of its newest checkpoint, by name."""

    def read(run_dir, phase="cross_entropy"):
        reader = tf.train.load_checkpoint(tf.train.latest_checkpoint(str(run_dir / "checkpoints" / phase)))
        # TensorFlow's own: the graph of names, and how often the run was saved.
        names = [name for name in reader.get_variable_to_shape_map() if not name.startswith(("_CHECK", "save_counter"))]
        return {name: np.asarray(reader.get_tensor(name)) for name in names}

    return read


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
def assert_same_run(checkpoint_values):
    """Function that compares a run with one that nobody stopped: all state bit for bit, and all that is written."""

    def compare(run_dir, unbroken):
        ours, theirs = checkpoint_values(run_dir), checkpoint_values(unbroken)
        assert set(ours) == set(theirs) and any(name.startswith("generators/") for name in ours)
        for name in theirs:
            np.testing.assert_array_equal(ours[name], theirs[name], err_msg=name)
        rows = [
            [
                {key: value for key, value in row.items() if key not in _TIMES}
                for row in History(path / "history.csv").rows
            ]
            for path in (run_dir, unbroken)
        ]
        assert rows[0] == rows[1]
        best = [(path / "measures.json").read_text() for path in (run_dir, unbroken)]
        assert best[0] == best[1]

    return compare
