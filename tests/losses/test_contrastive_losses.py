"""The contrastive losses against the papers' formulas in NumPy float64, whole and in chunks."""

import numpy as np
import pytest
import tensorflow as tf

from vl_keras.losses.contrastive_losses import CONTRASTIVE_LOSSES, INITIAL_SCALE_AND_BIAS
from vl_keras.losses.info_nce import info_nce, info_nce_directions

B, D = 5, 7
LOG_SCALE, BIAS, MARGIN = 0.8, -0.6, 0.2
# One caption an image in order; two each; and any number in any order, none for image 3.
OWNERS = {
    "one": np.arange(B),
    "two": np.repeat(np.arange(B), 2),
    "any": np.array([4, 0, 2, 2, 0, 1, 4, 2, 0, 4, 2]),
}


def vectors(owner, seed=0):
    rng = np.random.default_rng(seed)
    image, text = rng.normal(size=(B, D)), rng.normal(size=(len(owner), D))
    return tuple(v / np.linalg.norm(v, axis=1, keepdims=True) for v in (image, text))


def numpy_image_to_text(image, text, owner, log_scale):
    s = np.exp(log_scale) * image @ text.T
    losses = []
    for j, i in enumerate(owner):
        others = [np.exp(s[i, k]) for k in range(len(text)) if owner[k] != i]
        losses.append(-np.log(np.exp(s[i, j]) / (np.exp(s[i, j]) + sum(others))))
    return np.array(losses)


def numpy_text_to_image(image, text, owner, log_scale):
    s = np.exp(log_scale) * image @ text.T
    return np.array([-np.log(np.exp(s[i, j]) / np.exp(s[:, j]).sum()) for j, i in enumerate(owner)])


def numpy_info_nce(image, text, owner, log_scale, bias):
    directions = (f(image, text, owner, log_scale).mean() for f in (numpy_image_to_text, numpy_text_to_image))
    return sum(directions) / 2


def numpy_sigmoid_pairwise(image, text, owner, log_scale, bias):
    total = 0.0
    for i in range(len(image)):
        for j in range(len(text)):
            z = 1 if owner[j] == i else -1
            total += np.log(1 / (1 + np.exp(z * (-np.exp(log_scale) * image[i] @ text[j] - bias))))
    return -total / len(text)


def numpy_hardest_triplet(image, text, owner, log_scale, bias):
    s = image @ text.T
    total = 0.0
    for j, i in enumerate(owner):
        hardest_text = max(s[i, k] for k in range(len(text)) if owner[k] != i)
        hardest_image = max(s[k, j] for k in range(len(image)) if k != i)
        total += max(0, MARGIN - s[i, j] + hardest_text) + max(0, MARGIN - s[i, j] + hardest_image)
    return total / len(text)


FORMULAS = {
    "info_nce": numpy_info_nce,
    "sigmoid_pairwise": numpy_sigmoid_pairwise,
    "hardest_triplet": numpy_hardest_triplet,
}


def loss_and_gradients(name, inputs, owner, chunk_size=None, **how):
    """The loss, and gradients by image, text, log_scale and bias: zeros where the loss does not use one."""

    @tf.function(**how)
    def compute(*inputs):
        with tf.GradientTape() as tape:
            tape.watch(inputs)
            image, text, log_scale, bias = inputs
            loss = CONTRASTIVE_LOSSES[name](image, text, owner, log_scale, bias, chunk_size=chunk_size)
        return loss, tape.gradient(loss, inputs, unconnected_gradients="zero")

    loss, gradients = compute(*(tf.constant(value, tf.float32) for value in inputs))
    return loss.numpy(), [gradient.numpy() for gradient in gradients]


def test_the_worked_example():
    image = np.array([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]])
    text = np.array([[1.0, 0.0], [0.0, 1.0], [-1.0, -1.0]])
    owner = np.arange(3)
    np.testing.assert_allclose(numpy_image_to_text(image, text, owner, 0.0), [0.4076, 0.4076, 3.7177], atol=5e-5)
    image_to_text, text_to_image = info_nce_directions(image, text, owner, log_scale=0.0)
    assert float(image_to_text) == pytest.approx(1.5110, abs=5e-5)
    assert float(text_to_image) == pytest.approx(1.1953, abs=5e-5)
    assert float(info_nce(image, text, owner, log_scale=0.0)) == pytest.approx(1.3532, abs=5e-5)


@pytest.mark.parametrize("owners", OWNERS)
@pytest.mark.parametrize("name", CONTRASTIVE_LOSSES)
def test_equals_the_formula_and_its_slope(name, owners):
    owner = OWNERS[owners]
    inputs = (*vectors(owner), LOG_SCALE, BIAS)
    loss, gradients = loss_and_gradients(name, inputs, owner)
    np.testing.assert_allclose(loss, FORMULAS[name](inputs[0], inputs[1], owner, *inputs[2:]), rtol=1e-5)
    rng = np.random.default_rng(1)
    for place, gradient in enumerate(gradients):
        direction = rng.normal(size=np.shape(inputs[place]))
        ends = []
        for sign in (1e-6, -1e-6):
            image, text, *rest = (v + sign * direction if i == place else v for i, v in enumerate(inputs))
            ends.append(FORMULAS[name](image, text, owner, *rest))
        np.testing.assert_allclose((gradient * direction).sum(), (ends[0] - ends[1]) / 2e-6, atol=2e-5)


@pytest.mark.parametrize("name", CONTRASTIVE_LOSSES)
def test_chunks_change_nothing(name):
    owner = OWNERS["any"]
    inputs = (*vectors(owner), LOG_SCALE, BIAS)
    loss, gradients = loss_and_gradients(name, inputs, owner)
    for chunk_size in (4, 100):  # three chunks of the 11 texts, the last one filled up; one chunk
        again, of_chunks = loss_and_gradients(name, inputs, owner, chunk_size)
        np.testing.assert_allclose(again, loss, rtol=1e-6)
        for gradient, expected in zip(of_chunks, gradients, strict=True):
            np.testing.assert_allclose(gradient, expected, atol=1e-6)


def test_chunks_run_eagerly_under_xla_and_with_a_batch_of_unknown_size():
    owner = OWNERS["two"]
    inputs = (*vectors(owner), LOG_SCALE, BIAS)
    expected = loss_and_gradients("info_nce", inputs, owner)
    unknown = [tf.TensorSpec((None, D)), tf.TensorSpec((None, D)), tf.TensorSpec(()), tf.TensorSpec(())]
    hows = [{"jit_compile": True}, {"input_signature": unknown}]
    results = [loss_and_gradients("info_nce", inputs, owner, 3, **how) for how in hows]
    tf.config.run_functions_eagerly(True)
    try:
        results.append(loss_and_gradients("info_nce", inputs, owner, 3))
    finally:
        tf.config.run_functions_eagerly(False)
    for loss, gradients in results:
        np.testing.assert_allclose(loss, expected[0], rtol=1e-6)
        for gradient, wanted in zip(gradients, expected[1], strict=True):
            np.testing.assert_allclose(gradient, wanted, atol=1e-6)


@pytest.mark.parametrize("chunk_size", [None, 2])
@pytest.mark.parametrize("name", ["info_nce", "hardest_triplet"])
def test_other_texts_of_the_same_image_are_no_negatives(name, chunk_size):
    """Where there is no other image, there is nothing to be told apart."""
    image, text = vectors(np.zeros(3, int))
    loss, gradients = loss_and_gradients(name, (image[:1], text, LOG_SCALE, BIAS), np.zeros(3, int), chunk_size)
    assert loss == 0.0
    assert all(np.all(gradient == 0.0) for gradient in gradients)


def test_info_nce_stays_exact_where_it_is_small_or_large():
    image = np.eye(B, D)
    right, _ = loss_and_gradients("info_nce", (image, image, np.log(20.0), 0.0), np.arange(B))
    wrong, gradients = loss_and_gradients("info_nce", (image, -image, np.log(100.0), 0.0), np.arange(B))
    np.testing.assert_allclose(right, (B - 1) * np.exp(-20.0), rtol=1e-4)
    np.testing.assert_allclose(wrong, 100.0 + np.log(B - 1), rtol=1e-6)
    assert all(np.isfinite(gradient).all() for gradient in gradients)


def test_half_precision_vectors_are_compared_in_float32():
    owner = OWNERS["two"]
    image, text = (tf.constant(v, tf.bfloat16) for v in vectors(owner))
    for name, loss in CONTRASTIVE_LOSSES.items():
        wide = (tf.cast(v, tf.float32) for v in (image, text))
        assert loss(image, text, owner, LOG_SCALE, BIAS) == loss(*wide, owner, LOG_SCALE, BIAS), name


def test_what_can_be_learned_is_what_the_losses_depend_on():
    owner = OWNERS["two"]
    inputs = (*vectors(owner), LOG_SCALE, BIAS)
    for name, initial in INITIAL_SCALE_AND_BIAS.items():
        _, (*_, log_scale, bias) = loss_and_gradients(name, inputs, owner)
        assert [value is not None for value in initial] == [log_scale != 0.0, bias != 0.0]


def test_a_chunk_of_no_rows():
    with pytest.raises(ValueError, match="`chunk_size` must be at least 1, or None for no chunks; got 0"):
        info_nce(tf.ones((2, 3)), tf.ones((2, 3)), np.arange(2), 0.0, chunk_size=0)
