"""vl_keras: models that read images and text together, in TensorFlow and Keras.

Importing this package selects Keras 2 (`tf_keras`) for every library that asks TensorFlow for Keras: `hub.KerasLayer`
and keras-nlp can join no other. TensorFlow decides this once, when it is first imported, so it is done here alone.
"""

import os
import sys

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
