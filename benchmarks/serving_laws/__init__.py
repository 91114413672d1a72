"""What the local server holds to under load, damage and abuse; `python -m benchmarks.serving_laws`."""

import vl_keras  # noqa: F401  selects Keras 2 before TensorFlow is imported
