"""Weights that a SavedModel keeps in fewer bits and computes with in float32."""

import contextlib
from typing import NamedTuple

import numpy as np
import tensorflow as tf

DTYPES = ("float32", "float16", "bfloat16", "int8")


class _Stored(NamedTuple):
    value: tf.Variable
    scale: tf.Variable | None

    def read(self):
        value = tf.cast(self.value, tf.float32)
        return value if self.scale is None else value * self.scale


class StoredWeights:
    """The matrices and kernels of some layers, kept in `dtype`; vectors stay as they are.

    int8 is weight-only, symmetric, with a scale for every place along a weight's longest axis (Dettmers et al., 2022,
    section 2.1, vector-wise). The layers themselves get the rounded values, so that they compute what the SavedModel
    will.

    Args:
        layers: iterable of Keras layers; their sub-layers are found.
        dtype: float16, bfloat16 or int8.

    Attributes:
        count: weights that are kept so.
    """

    def __init__(self, layers, dtype):
        self._stored = {}
        self._places = []
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
    def in_place(self):
        """Inside, in a graph that is being built, the layers read the stored weights."""
        tensors = {key: stored.read() for key, stored in self._stored.items()}
        try:
            # Past Keras's attribute tracking: what stands there for the moment is a tensor of this graph.
            for layer, name, value in self._places:
                vars(layer)[name] = tensors[id(value)]
            yield
        finally:
            for layer, name, value in self._places:
                vars(layer)[name] = value


def _store(variable, dtype):
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
