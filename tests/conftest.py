"""Sizes and folders that the tests share. Sizes are pairwise different, so that a swapped axis cannot hide."""

import functools
import os
from pathlib import Path

import pytest
from small_run import SMALL, SMALL_TASK, TINY

import vl_keras  # noqa: F401  selects Keras 2 before any test imports TensorFlow

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def shared_dir():
    """Folder of real data and weights; tests that want it are skipped, and say so, where it is absent."""
    folder = Path(os.environ.get("VL_KERAS_SHARED", ROOT / ".." / "shared")).resolve()
    if not (folder / "data").is_dir():
        pytest.skip(f"real data not found: set VL_KERAS_SHARED to its folder (looked in {folder})")
    return folder


@pytest.fixture(scope="session")
def data_dir(tmp_path_factory):
    return tmp_path_factory.mktemp("data")


@pytest.fixture(scope="session")
def small_config(data_dir):
    """Function of overrides to the `Config` of a run of seconds."""
    from vl_keras.config import load_config

    return lambda *overrides: load_config(TINY, (*SMALL, f"data.data_dir={data_dir}", *overrides))


@pytest.fixture(scope="session")
def trained_run(small_config, tmp_path_factory):
    """Folder of a finished run of `small_config()`."""
    run_dir = tmp_path_factory.mktemp("runs") / "trained"
    from vl_keras.training.train import train

    train(small_config(), run_dir)
    return run_dir


@pytest.fixture(scope="session")
def task_config(data_dir):
    """Function of a task's name and overrides to the `Config` of a run of seconds of its tiny experiment."""
    from vl_keras.config import load_config

    def config(task, *overrides):
        return load_config(
            ROOT / "configs" / task / "tiny.yaml", (*SMALL_TASK, f"data.data_dir={data_dir}", *overrides)
        )

    return config


@pytest.fixture(scope="session")
def task_run(task_config, tmp_path_factory):
    """Function of a task's name to the folder of a finished run of its `task_config`; who writes there copies it."""
    from vl_keras.training.train import train

    @functools.cache
    def run(task):
        run_dir = tmp_path_factory.mktemp("runs") / task
        train(task_config(task), run_dir)
        return run_dir

    return run
