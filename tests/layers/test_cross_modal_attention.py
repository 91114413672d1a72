import numpy as np
import pytest
import tensorflow as tf

from tests.layers.contract import check_layer, normal, trained_like
from vl_keras.layers.cross_modal_attention import CrossModalAttention

B, T, R, D, WIDE, HEADS = 2, 3, 5, 8, 7, 4


def made(seed=0):
    layer = CrossModalAttention(D, HEADS)
    query, value = normal(B, T, D, seed=seed), normal(B, R, WIDE, seed=seed + 1)
    layer(query, value)
    return trained_like(layer), query, value


def formula(layer, query, value, mask):
    """softmax(Q K' / sqrt(d)) V for each head (Vaswani et al., 2017, equation 1), in float64."""
    weights = {weight.name.split("/", 1)[1]: weight.numpy().astype("float64") for weight in layer.weights}
    query, value = np.asarray(query, "float64"), np.asarray(value, "float64")
    q = query @ weights["query/kernel:0"] + weights["query/bias:0"]
    k = value @ weights["key/kernel:0"] + weights["key/bias:0"]
    v = value @ weights["value/kernel:0"] + weights["value/bias:0"]
    size = D // HEADS
    read, attention = np.zeros((B, T, D)), np.zeros((B, HEADS, T, R))
    for b in range(B):
        for h in range(HEADS):
            part = slice(h * size, (h + 1) * size)
            for t in range(T):
                scores = np.exp(k[b, :, part] @ q[b, t, part] / np.sqrt(size)) * mask[b]
                if scores.sum():
                    attention[b, h, t] = scores / scores.sum()
                read[b, t, part] = attention[b, h, t] @ v[b, :, part]
    return read @ weights["output/kernel:0"], attention


@pytest.mark.parametrize("mask", [np.ones((B, R), bool), np.array([[1, 1, 0, 1, 0], [0, 0, 0, 0, 0]], bool)])
def test_equals_the_formula(mask):
    layer, query, value = made()
    output, attention = layer(query, value, tf.constant(mask), return_attention_scores=True)
    expected, expected_attention = formula(layer, query, value, mask)
    np.testing.assert_allclose(output, expected, atol=1e-5)
    np.testing.assert_allclose(attention, expected_attention, atol=1e-6)


def test_a_masked_region_changes_nothing_and_gets_no_gradient():
    layer, query, value = made()
    mask = tf.constant([[True, False, True, True, False]] * B)
    noise = tf.where(mask[..., None], 0.0, 1e3 * normal(B, R, WIDE, seed=5))
    np.testing.assert_array_equal(layer(query, value, mask), layer(query, value + noise, mask))
    with tf.GradientTape() as tape:
        tape.watch(value)
        loss = tf.reduce_sum(layer(query, value, mask) ** 2)
    gradient = np.abs(tape.gradient(loss, value)).sum(-1)
    assert (gradient[~mask.numpy()] == 0).all() and (gradient[mask.numpy()] > 0).all()


def test_a_row_with_no_region_reads_zeros_without_a_nan_in_its_gradient():
    layer, query, value = made()
    mask = tf.constant([[True] * R, [False] * R])
    with tf.GradientTape() as tape:
        output = layer(query, value, mask)
        loss = tf.reduce_sum(output**2)
    assert (output[1].numpy() == 0).all() and (output[0].numpy() != 0).any()
    assert all(np.isfinite(g).all() for g in tape.gradient(loss, layer.trainable_weights))


def test_a_batch_neighbour_changes_nothing():
    layer, query, value = made()
    other_query = tf.concat([query[:1], normal(1, T, D, seed=9)], 0)
    other_value = tf.concat([value[:1], 50.0 * normal(1, R, WIDE, seed=8)], 0)
    np.testing.assert_array_equal(layer(query, value)[0], layer(other_query, other_value)[0])


def test_the_order_of_regions_does_not_matter():
    layer, query, value = made()
    order = [3, 0, 4, 1, 2]
    np.testing.assert_allclose(layer(query, value), layer(query, tf.gather(value, order, axis=1)), atol=1e-5)


def test_contract(tmp_path):
    layer, query, value = made()
    mask = tf.constant([[True, False, True, True, False]] * B)
    check_layer(layer, query, value, mask, folder=tmp_path, return_attention_scores=True)


def test_heads_must_divide_the_width():
    with pytest.raises(ValueError, match="100 and 8"):
        CrossModalAttention(100, 8)
