"""Sizes and folders that the tests share. Sizes are pairwise different, so that a swapped axis cannot hide."""

import os
from pathlib import Path

import pytest
from small_run import SMALL, TINY

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
