"""Models of one precision inside a training of another."""

import contextlib

import tf_keras as keras


@contextlib.contextmanager
def built_in(policy):
    """Inside, layers are made with this mixed-precision policy."""
    before = keras.mixed_precision.global_policy()
    keras.mixed_precision.set_global_policy(policy)
    try:
        yield
    finally:
        keras.mixed_precision.set_global_policy(before)
