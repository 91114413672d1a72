"""Weights in fewer bits: what the layers compute is what the graph will."""

import numpy as np
import pytest
import tensorflow as tf
import tf_keras as keras

from export.stored_weights import StoredWeights

WORST = {"float16": 2.0**-11, "bfloat16": 2.0**-8, "int8": 0.5 / 127}  # of the largest value that shares a scale


@pytest.mark.parametrize("dtype", WORST)
def test_layers_and_graph_read_the_rounded_weights(dtype):
    model = keras.Sequential([keras.layers.Conv2D(5, 3, input_shape=(7, 9, 3)), keras.layers.Dense(4)])
    image = tf.constant(np.random.default_rng(0).normal(size=(2, 7, 9, 3)), tf.float32)
    before = [weight.numpy() for weight in model.weights]
    stored = StoredWeights([model], dtype)
    assert stored.count == 2  # kernels, not biases
    for old, weight in zip(before, model.weights, strict=True):
        assert np.abs(old - weight.numpy()).max() <= WORST[dtype] * np.abs(old).max() * 1.001
    expected = model(image).numpy()

    @tf.function
    def ask(image):
        with stored.in_place():
            return model(image)

    function = ask.get_concrete_function(image)
    np.testing.assert_allclose(function(image), expected, atol=1e-6)
    kept = {variable.dtype.name for variable in function.variables if variable.shape.rank >= 2}
    assert dtype in kept and not kept - {dtype, "float32"}
    assert not any(
        variable is weight for variable in function.variables for weight in model.weights if weight.shape.rank > 1
    )
    np.testing.assert_array_equal(model(image), expected)  # and the layers have their own weights back
