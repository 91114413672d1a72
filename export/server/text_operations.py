"""Loads the operations of tensorflow-text, which TensorFlow Serving includes."""

import importlib.util
from pathlib import Path

import tensorflow as tf


def load_text_operations() -> int:
    """Registers the operations if tensorflow-text is installed. Does not import it, because that imports Keras.

    Returns:
        The number of loaded libraries.
    """
    spec = importlib.util.find_spec("tensorflow_text")
    if spec is None or not spec.submodule_search_locations:
        return 0
    folder = Path(spec.submodule_search_locations[0]) / "python" / "ops"
    paths = sorted(folder.glob("*.so"))
    for path in paths:
        tf.load_op_library(str(path))
    return len(paths)
