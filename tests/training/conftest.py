"""A tiny experiment, and runs of it that several tests look at."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from small_run import SMALL, TINY

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
