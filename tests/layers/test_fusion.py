"""Every fusion is its formula, and reads only what is real."""

import fusion_reference as reference
import numpy as np
import pytest
import tensorflow as tf
from contract import check_layer, normal, trained_like

from vl_keras.layers.fusion import FUSIONS

B, T, R, D1, D2, D = 2, 3, 5, 7, 9, 8
HEADS, LAYERS, FACTORS = 4, 2, 3
TRANSFORMER = {"num_heads": HEADS, "num_layers": LAYERS, "intermediate_dim": 11}
ARGUMENTS = {
    "bilinear": {"factors": FACTORS},
    "early": TRANSFORMER,
    "interactive": TRANSFORMER,
    "co_attention": TRANSFORMER,
    "cross_modal": {"num_heads": HEADS},
    "graph_alignment": {"num_heads": HEADS},
}
REFERENCE = {
    "sum": reference.sum_,
    "bilinear": lambda *inputs: reference.bilinear(*inputs, FACTORS),
    "early": lambda *inputs: reference.early(*inputs, HEADS, LAYERS),
    "interactive": lambda *inputs: reference.interactive(*inputs, HEADS, LAYERS),
    "co_attention": lambda *inputs: reference.co_attention(*inputs, HEADS, LAYERS),
    "cross_modal": lambda *inputs: reference.cross_modal(*inputs, HEADS),
    "graph_alignment": lambda *inputs: reference.graph_alignment(*inputs, HEADS),
}
TOKEN_FUSIONS = [name for name, fusion in FUSIONS.items() if fusion.reads == "tokens"]
TEXT_MASK = tf.constant([[True, False, True], [True, True, True]])
IMAGE_MASK = tf.constant([[True, True, False, True, False], [False, True, True, True, True]])


def _make(name, **changes):
    width = {} if name == "late" else {"hidden_dim": D}
    return FUSIONS[name](**width, **ARGUMENTS.get(name, {}), **changes)


def _inputs(name):
    if FUSIONS[name].reads == "scores":
        return normal(B, D1), normal(B, D1, seed=1)
    if FUSIONS[name].reads == "vectors":
        return normal(B, D1), normal(B, D2, seed=1)
    return normal(B, T, D1), TEXT_MASK, normal(B, R, D2, seed=1), IMAGE_MASK


def _lookup(layer):
    """Weights by the end of their name, as float64; None where there is none."""
    known = {weight.name.split(":")[0]: weight.numpy().astype(np.float64) for weight in layer.weights}
    prefix = f"{layer.name}/"

    def find(name):
        return known.get(prefix + name, known.get(name))

    return find


@pytest.mark.parametrize(
    "name, empty", [*((name, "none") for name in FUSIONS), *((n, e) for n in TOKEN_FUSIONS for e in ("text", "image"))]
)
def test_it_is_its_formula(name, empty):
    layer, inputs = _make(name), list(_inputs(name))
    if empty != "none":  # the second row has no real word, or no real region
        place = 1 if empty == "text" else 3
        inputs[place] = tf.concat([inputs[place][:1], tf.zeros_like(inputs[place][1:])], axis=0)
    layer(*inputs)
    trained_like(layer)
    wide = [part.numpy() if part.dtype == tf.bool else part.numpy().astype(np.float64) for part in inputs]
    expected = REFERENCE.get(name, getattr(reference, name, None))(_lookup(layer), *wide)
    if name in TOKEN_FUSIONS:
        fused, weights = layer(*inputs, return_attention_scores=True)
        np.testing.assert_allclose(weights, expected[1], atol=1e-5)
        expected = expected[0]
    else:
        fused = layer(*inputs)
    np.testing.assert_allclose(fused, expected, atol=2e-5)


@pytest.mark.parametrize("name", FUSIONS)
def test_it_keeps_the_contract_of_layers(name, tmp_path):
    layer, inputs = _make(name), _inputs(name)
    layer(*inputs)
    check_layer(trained_like(layer), *inputs, folder=tmp_path)


@pytest.mark.parametrize("name", TOKEN_FUSIONS)
def test_what_is_masked_changes_nothing(name):
    layer = _make(name)
    text, text_mask, image, image_mask = _inputs(name)
    before = layer(text, text_mask, image, image_mask)
    text = tf.where(text_mask[..., None], text, 100.0 * normal(B, T, D1, seed=5))
    image = tf.where(image_mask[..., None], image, 100.0 * normal(B, R, D2, seed=6))
    np.testing.assert_allclose(layer(text, text_mask, image, image_mask), before, atol=1e-5)


@pytest.mark.parametrize("name", TOKEN_FUSIONS)
def test_a_neighbour_and_an_empty_side_change_nothing_else(name):
    layer = _make(name)
    text, text_mask, image, image_mask = _inputs(name)
    alone = layer(text[:1], text_mask[:1], image[:1], image_mask[:1])
    none = tf.concat([image_mask[:1], tf.zeros((1, R), tf.bool)], axis=0)
    both = layer(text, text_mask, image, none)
    np.testing.assert_allclose(both[:1], alone, atol=1e-5)
    assert np.isfinite(both).all()


@pytest.mark.parametrize("name", [name for name in FUSIONS if name != "late"])
def test_both_sides_matter_and_learn(name):
    layer, inputs = _make(name), _inputs(name)
    floats = [part for part in inputs if part.dtype != tf.bool]
    layer(*inputs)
    trained_like(layer)
    with tf.GradientTape() as tape:
        tape.watch(floats)
        loss = tf.reduce_sum(layer(*inputs) * normal(*layer(*inputs).shape, seed=3))
    gradients = tape.gradient(loss, [*floats, *layer.trainable_weights])
    assert all(gradient is not None and np.abs(tf.convert_to_tensor(gradient)).max() > 0 for gradient in gradients)


def test_three_streams():
    layer = FUSIONS["multi_stream"](D, streams=("text", "image", "series"))
    third, mask = normal(B, 4, 6, seed=2), tf.constant([[True, False, True, True], [False, False, False, False]])
    inputs = (*_inputs("multi_stream"), third, mask)
    assert layer(*inputs).shape == (B, 3 * D)
    trained_like(layer)
    wide = [part.numpy() if part.dtype == tf.bool else part.numpy().astype(np.float64) for part in inputs]
    np.testing.assert_allclose(layer(*inputs), reference.multi_stream(_lookup(layer), *wide)[0], atol=2e-5)


def test_a_stream_that_is_absent_in_a_row_is_gated_out():
    layer = FUSIONS["multi_stream"](D, streams=("text", "image", "series"))
    mask = tf.constant([[True, False, True, True], [False] * 4])
    inputs = (*_inputs("multi_stream"), normal(B, 4, 6, seed=2), mask)
    layer(*inputs)
    trained_like(layer)
    before = layer(*inputs).numpy()
    changed = tf.where(mask[..., None], inputs[4], 100.0 * normal(B, 4, 6, seed=5))
    np.testing.assert_array_equal(layer(*inputs[:4], changed, mask), before)
    assert (before[1, 2 * D :] == 0).all() and np.abs(before[0, 2 * D :]).min() > 0


@pytest.mark.parametrize(
    "build, says",
    [
        (lambda: FUSIONS["multi_stream"](D, streams=("text",)), "at least 2 different names; got text"),
        (lambda: FUSIONS["multi_stream"](D, streams="abc")(*_inputs("multi_stream")), "a, b, c take 6 inputs.*got 4"),
        (lambda: FUSIONS["graph_alignment"](D, num_heads=3), "must be divisible by `num_heads`; got 8 and 3"),
        (lambda: FUSIONS["cross_modal"](D, num_heads=3), "must be divisible by `num_heads`; got 8 and 3"),
    ],
)
def test_wrong_arguments_say_so(build, says):
    with pytest.raises(ValueError, match=says):
        build()
