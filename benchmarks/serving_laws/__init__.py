"""Stress tests of the local server: load, damaged files, invalid requests. `python -m benchmarks.serving_laws`."""

import vl_keras  # noqa: F401  selects Keras 2 before TensorFlow is imported
