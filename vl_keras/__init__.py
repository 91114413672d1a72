"""vl_keras: models that read images and text together, in TensorFlow and Keras.

Importing this package selects Keras 2 (`tf_keras`) for every library that asks TensorFlow for Keras: `hub.KerasLayer`
and keras-nlp can join no other. TensorFlow decides this once, when it is first imported, so it is done here alone.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from vl_keras.inference.loaded_run import LoadedRun

__version__ = "0.1.0"

_LEGACY_KERAS = os.environ.get("TF_USE_LEGACY_KERAS", "").lower() in ("1", "true")

if "tensorflow" in sys.modules and not _LEGACY_KERAS:
    raise ImportError(
        "TensorFlow was imported before vl_keras, and without TF_USE_LEGACY_KERAS=1, so it has chosen Keras 3, which "
        "vl_keras (tf_keras, TensorFlow Hub's KerasLayer) cannot join. Import vl_keras before tensorflow, or set the "
        "environment variable TF_USE_LEGACY_KERAS=1 before starting Python."
    )

os.environ["TF_USE_LEGACY_KERAS"] = "1"
# TensorFlow's start-up notices (missing GPU, CPU features) hide the lines a user needs; its own errors still show.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ.setdefault("KERAS_BACKEND", "tensorflow")


def load(run_dir: str | Path, weights: str = "auto", overrides: Sequence[str] = ()) -> LoadedRun:
    """Loads a trained run; see `LoadedRun`, whose `predict` takes files, arrays and PIL images.

    Args:
        run_dir: folder that `vl-keras train` or `vl-keras ensemble` wrote.
        weights: `auto` (best, else last), `best`, `last` or `ema`.
        overrides: `"section.key=value"` strings of settings that may be set for a trained run.
    """
    from vl_keras.inference.loaded_run import LoadedRun

    return LoadedRun(run_dir, weights, overrides)
