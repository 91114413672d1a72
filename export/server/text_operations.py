"""tensorflow-text's operations, which TensorFlow Serving has linked in."""

import importlib.util
from pathlib import Path

import tensorflow as tf


def load_text_operations():
    """Registers them where tensorflow-text is installed, without importing it: its Python layers need Keras.

    Returns:
        How many libraries were loaded.
    """
    spec = importlib.util.find_spec("tensorflow_text")
    if spec is None:
        return 0
    folder = Path(spec.submodule_search_locations[0]) / "python" / "ops"
    paths = sorted(folder.glob("*.so"))
    for path in paths:
        tf.load_op_library(str(path))
    return len(paths)
