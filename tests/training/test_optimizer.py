import numpy as np
import pytest
import tensorflow as tf
import tf_keras as keras

from vl_keras.training.optimizer import WarmupCosine, averaged_weights, build_optimizer, weight_averages


def test_schedule_is_linear_then_half_a_cosine():
    schedule = WarmupCosine(0.4, 5, 25)
    steps = np.arange(30)
    expected = np.where(steps < 5, (steps + 1) / 5, 0.5 * (1 + np.cos(np.pi * np.clip((steps - 5) / 20, 0, 1))))
    np.testing.assert_allclose([float(schedule(step)) for step in steps], 0.4 * expected, atol=1e-6)
    again = WarmupCosine.from_config(schedule.get_config())
    assert float(again(7)) == float(schedule(7))


@pytest.fixture
def variables():
    shapes = {"dense/kernel": (2, 3), "dense/bias": (3,), "norm/gamma": (3,), "norm/beta": (3,), "beta/kernel": (3, 1)}
    shapes["embedding/embeddings"] = (7, 3)
    return [tf.Variable(np.ones(shape, np.float32), name=name) for name, shape in shapes.items()]


def test_only_kernels_decay(variables):
    optimizer = build_optimizer(variables, 0.5, weight_decay=0.1)
    optimizer.apply_gradients([(tf.zeros_like(variable), variable) for variable in variables])
    for variable in variables:
        expected = 0.95 if variable.name.endswith("kernel:0") else 1.0
        np.testing.assert_allclose(variable.numpy(), expected, rtol=1e-6, err_msg=variable.name)


def test_gradients_are_clipped_together(variables):
    two = [[tf.Variable(variable) for variable in variables] for _ in range(2)]
    gradients = [tf.random.stateless_normal(v.shape, (1, i)) * 9.0 for i, v in enumerate(variables)]
    norm = np.sqrt(sum(float(tf.reduce_sum(gradient**2)) for gradient in gradients))
    clipping = build_optimizer(two[0], 0.1, clip_norm=0.7)
    plain = build_optimizer(two[1], 0.1)
    for factor in (1.0, 0.01):  # Adam does not feel the size of a first gradient, only of later ones beside it
        scale = 0.7 / max(norm * factor, 0.7)
        clipping.apply_gradients([(g * factor, v) for g, v in zip(gradients, two[0], strict=True)])
        plain.apply_gradients([(g * factor * scale, v) for g, v in zip(gradients, two[1], strict=True)])
    for a, b in zip(*two, strict=True):
        np.testing.assert_allclose(a.numpy(), b.numpy(), rtol=1e-5)


def test_average_follows_its_formula():
    variable = tf.Variable([3.0, -1.0])
    optimizer = build_optimizer([variable], 0.3, ema_decay=0.6)
    average = variable.numpy().astype(np.float64)
    for update in range(12):
        optimizer.apply_gradients([(tf.constant([1.0, -0.5 * update]), variable)])
        decay = min(0.6, (1 + update) / (10 + update))
        average = decay * average + (1 - decay) * variable.numpy()
    np.testing.assert_allclose(weight_averages(optimizer, [variable])[0].numpy(), average, rtol=1e-5)


def test_averages_go_in_and_out_and_fit_leaves_the_weights_alone():
    model = keras.Sequential([keras.layers.Dense(2, input_shape=(3,))])
    optimizer = build_optimizer(model.trainable_variables, 0.1, ema_decay=0.9)
    model.compile(optimizer, "mse")
    after_step = []
    keep = keras.callbacks.LambdaCallback(on_train_batch_end=lambda *_: after_step.append(model.get_weights()))
    model.fit(np.ones((5, 3), "float32"), np.ones((5, 2), "float32"), verbose=0, epochs=4, callbacks=[keep])
    for ours, last in zip(model.get_weights(), after_step[-1], strict=True):
        np.testing.assert_array_equal(ours, last)
    own, averages = model.get_weights(), [average.numpy() for average in weight_averages(optimizer, model.weights)]
    assert not np.allclose(own[0], averages[0])
    with pytest.raises(ZeroDivisionError), averaged_weights(optimizer, model.trainable_variables):
        np.testing.assert_array_equal(model.get_weights()[0], averages[0])
        raise ZeroDivisionError
    np.testing.assert_array_equal(model.get_weights()[0], own[0])


def test_without_averages_nothing_moves(variables):
    optimizer = build_optimizer(variables, 0.1)
    assert weight_averages(optimizer, variables) == []
    with averaged_weights(optimizer, variables):
        np.testing.assert_array_equal(variables[0].numpy(), np.ones((2, 3)))
