"""The random generators of a model's dropout layers."""

from typing import Any

import tf_keras as keras


def dropout_generators(model: keras.Model) -> list[Any]:
    """The random generators of a model's layers, which Keras leaves out of checkpoints, in the order of the layers."""
    generators: list[Any] = []
    for layer in model._flatten_layers():
        source = getattr(layer, "_random_generator", None)
        if source is None:
            continue
        source._maybe_init()
        if source._generator is not None and not any(source._generator is known for known in generators):
            generators.append(source._generator)
    return generators
