"""Builds a model in one precision while training uses another."""

import contextlib
from collections.abc import Iterator

import tf_keras as keras


@contextlib.contextmanager
def built_in(policy: str) -> Iterator[None]:
    """Inside, layers are made with a mixed-precision policy, given by its name."""
    before = keras.mixed_precision.global_policy()
    keras.mixed_precision.set_global_policy(policy)
    try:
        yield
    finally:
        keras.mixed_precision.set_global_policy(before)
