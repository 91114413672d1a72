"""Weights that a SavedModel stores in fewer bits; it computes in float32."""

import contextlib
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

DTYPES = ("float32", "float16", "bfloat16", "int8")


class _Stored(NamedTuple):
    value: tf.Variable
    scale: tf.Variable | None

    def read(self) -> tf.Tensor:
        value = tf.cast(self.value, tf.float32)
        return value if self.scale is None else value * self.scale


class StoredWeights:
    """Stores the matrices and kernels of layers in `dtype`; vectors stay float32.

    int8 is weight-only and symmetric, with one scale per index of the longest axis of a weight (Dettmers et al., 2022,
    section 2.1, vector-wise). The layers are set to the rounded values, so they compute what the SavedModel computes.

    Args:
        layers: Keras layers; their sub-layers are included.
        dtype: float16, bfloat16 or int8.

    Attributes:
        count: number of weights stored in `dtype`.
    """

    def __init__(self, layers: Iterable[Any], dtype: str) -> None:
        self._stored: dict[int, _Stored] = {}
        self._places: list[tuple[Any, str, tf.Variable]] = []
        parts = {id(part): part for layer in layers for part in layer._flatten_layers()}
        for layer in parts.values():
            for name, value in vars(layer).items():
                if isinstance(value, tf.Variable) and value.dtype == tf.float32 and value.shape.rank >= 2:
                    if id(value) not in self._stored:
                        self._stored[id(value)] = stored = _store(value, dtype)
                        value.assign(stored.read())
                    self._places.append((layer, name, value))
        self.count = len(self._stored)

    @contextlib.contextmanager
    def in_place(self) -> Iterator[None]:
        """Context in which the layers read the stored weights; for building a graph."""
        tensors = {key: stored.read() for key, stored in self._stored.items()}
        try:
            # Bypasses the attribute tracking of Keras: inside the block the attribute is a tensor of this graph.
            for layer, name, value in self._places:
                vars(layer)[name] = tensors[id(value)]
            yield
        finally:
            for layer, name, value in self._places:
                vars(layer)[name] = value


def _store(variable: tf.Variable, dtype: str) -> _Stored:
    name = variable.name.partition(":")[0]
    value = variable.numpy()
    if dtype != "int8":
        return _Stored(tf.Variable(tf.cast(value, dtype), trainable=False, name=name), None)
    axis = int(np.argmax(value.shape))
    largest = np.abs(value).max(axis=tuple(i for i in range(value.ndim) if i != axis), keepdims=True)
    scale = np.maximum(largest / 127.0, np.finfo(np.float32).tiny).astype(np.float32)
    rounded = np.clip(np.round(value / scale), -127, 127).astype(np.int8)
    return _Stored(
        tf.Variable(rounded, trainable=False, name=name), tf.Variable(scale, trainable=False, name=f"{name}_scale")
    )
