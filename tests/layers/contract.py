"""What every layer must hold: config round trip, save and load, mixed precision, graph and eager."""

import numpy as np
import tensorflow as tf


def arrays(outputs):
    return [np.asarray(tf.cast(part, tf.float32)) for part in tf.nest.flatten(outputs)]


def check_layer(layer, *inputs, folder, tolerance=0.05, **kwargs):
    """Raises AssertionError where `layer(*inputs, **kwargs)` breaks the contract; `folder` is a temporary one."""
    eager = arrays(layer(*inputs, **kwargs))
    assert all(np.isfinite(part).all() for part in eager)

    graph = arrays(tf.function(lambda *inputs: layer(*inputs, **kwargs))(*inputs))
    for one, other in zip(eager, graph, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5)

    config = layer.get_config()
    copy = type(layer).from_config(config)
    assert copy.get_config() == config
    copy(*inputs, **kwargs)
    assert len(copy.weights) == len(layer.weights) > 0
    copy.set_weights(layer.get_weights())
    for one, other in zip(eager, arrays(copy(*inputs, **kwargs)), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-6)

    path = str(folder / "layer")
    tf.train.Checkpoint(layer=layer).write(path)
    loaded = type(layer).from_config(config)
    loaded(*inputs, **kwargs)
    tf.train.Checkpoint(layer=loaded).read(path).assert_consumed()
    for one, other in zip(eager, arrays(loaded(*inputs, **kwargs)), strict=True):
        np.testing.assert_array_equal(one, other)

    mixed = type(layer).from_config({**config, "dtype": "mixed_bfloat16"})
    mixed(*inputs, **kwargs)
    mixed.set_weights(layer.get_weights())
    assert all(weight.dtype == tf.float32 for weight in mixed.weights)
    for one, other in zip(eager, arrays(mixed(*inputs, **kwargs)), strict=True):
        np.testing.assert_allclose(one, other, atol=tolerance * max(1.0, np.abs(one).max()))


def normal(*shape, seed=0):
    return tf.constant(np.random.default_rng(seed).normal(size=shape).astype("float32"))


def trained_like(layer_or_model, seed=0):
    """Gives every weight, zero-initialised biases too, a random value, so that no part can hide behind a zero."""
    rng = np.random.default_rng(seed)
    layer_or_model.set_weights(
        [w + rng.normal(scale=0.3, size=w.shape).astype("float32") for w in layer_or_model.get_weights()]
    )
    return layer_or_model
