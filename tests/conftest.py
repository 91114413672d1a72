"""Sizes and folders that the tests share. Sizes are pairwise different, so that a swapped axis cannot hide."""

import os
from pathlib import Path

import pytest

import vl_keras  # noqa: F401  selects Keras 2 before any test imports TensorFlow

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def shared_dir():
    """Folder of real data and weights; tests that want it are skipped, and say so, where it is absent."""
    folder = Path(os.environ.get("VL_KERAS_SHARED", ROOT / ".." / "shared")).resolve()
    if not (folder / "data").is_dir():
        pytest.skip(f"real data not found: set VL_KERAS_SHARED to its folder (looked in {folder})")
    return folder
