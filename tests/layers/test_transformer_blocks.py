"""Every choice of the Transformer blocks against the formulas in NumPy float64."""

import math

import numpy as np
import pytest
import tensorflow as tf

from tests.layers.contract import check_layer, normal, trained_like
from vl_keras.layers.activations import ACTIVATIONS, activation_function
from vl_keras.layers.attention_ops import additive_mask
from vl_keras.layers.causal_self_attention import first_rows
from vl_keras.layers.transformer_blocks import TransformerDecoderBlock, TransformerEncoderBlock

B, K, T, S, D, H, F = 2, 3, 4, 5, 8, 2, 12
MASK = np.array([[1, 1, 1, 0], [1, 0, 1, 1]], bool)
MEMORY_MASK = np.array([[1, 0, 1, 1, 0], [1, 1, 1, 1, 1]], bool)
erf = np.vectorize(math.erf)
FORMULAS = {
    "relu": lambda x: np.maximum(x, 0),
    "gelu": lambda x: 0.5 * x * (1 + erf(x / math.sqrt(2))),
    "gelu_tanh": lambda x: 0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))),
    "quick_gelu": lambda x: x / (1 + np.exp(-1.702 * x)),
}
CHOICES = {
    "ours": {},
    "clip image": {"activation": "quick_gelu", "epsilon": 1e-5, "output_bias": True},
    "clip text": {"activation": "quick_gelu", "epsilon": 1e-5, "output_bias": True, "causal": True},
    "siglip": {"activation": "gelu_tanh", "output_bias": True},
    "bert": {"norm_first": False, "activation": "gelu", "epsilon": 1e-12, "output_bias": True},
    "bert that reads an image": {
        "norm_first": False,
        "activation": "gelu",
        "epsilon": 1e-12,
        "output_bias": True,
        "cross_attention": True,
    },
    "dinov2": {"activation": "gelu", "output_bias": True, "layer_scale": 0.1},
    "without biases": {"use_bias": False, "causal": True, "cross_attention": True},
}


def attend(query, key, value, mask):
    """`(B, T, D)` reads `(B, S, D)` with H heads, where `mask` `(B, T, S)` allows it."""
    read, width = np.zeros_like(query), D // H
    for head in range(H):
        part = slice(head * width, (head + 1) * width)
        scores = query[..., part] @ key[..., part].swapaxes(1, 2) / math.sqrt(width)
        weights = np.exp(scores - scores.max(-1, keepdims=True)) * mask
        read[..., part] = weights / weights.sum(-1, keepdims=True) @ value[..., part]
    return read


def named(layer):
    """The weights of one layer by `part/name`, in float64."""
    found = {}
    for part in layer._flatten_layers():
        for weight in part._trainable_weights:
            found[f"{part.name}/{weight.name.split('/')[-1].split(':')[0]}"] = weight.numpy().astype("float64")
    return found


def multi_head(weights, query, value, mask):
    def dense(x, name):
        return x @ weights[f"{name}/kernel"] + weights.get(f"{name}/bias", 0.0)

    read = attend(dense(query, "query"), dense(value, "key"), dense(value, "value"), mask)
    return dense(read, "output")


def encoder_reference(layer, tokens, mask, memory, memory_mask):
    options, weights = layer.get_config(), named(layer)
    own, other = named(layer._attention), named(layer._memory_attention) if layer.cross_attention else None
    feed = named(layer._feed_forward)
    allowed = np.broadcast_to(mask[:, None], (B, T, T))
    if options["causal"]:
        allowed = allowed & np.tril(np.ones((T, T), bool))
    x = residual(options, weights, tokens, 0, lambda x: multi_head(own, x, x, allowed))
    if other is not None:
        seen = np.broadcast_to(memory_mask[:, None], (B, T, S))
        x = residual(options, weights, x, 1, lambda x: multi_head(other, x, memory, seen))
    return residual(options, weights, x, 1 + layer.cross_attention, lambda x: feed_forward(options, feed, x))


def residual(options, weights, x, index, part):
    def norm(x):
        scaled = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + options["epsilon"])
        return scaled * weights[f"norm_{index}/gamma"] + weights[f"norm_{index}/beta"]

    added = part(norm(x) if options["norm_first"] else x)
    if options["layer_scale"] is not None:
        (scales,) = (value for name, value in weights.items() if name.endswith("/scales"))
        added = added * scales[index]
    return x + added if options["norm_first"] else norm(x + added)


def feed_forward(options, weights, x):
    inner = FORMULAS[options["activation"]](x @ weights["inner/kernel"] + weights.get("inner/bias", 0.0))
    return inner @ weights["outer/kernel"] + weights.get("outer/bias", 0.0)


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activations_are_the_formulas(name):
    x = np.linspace(-4, 4, 41)
    np.testing.assert_allclose(activation_function(name)(tf.constant(x, tf.float32)), FORMULAS[name](x), atol=1e-6)


def test_an_unknown_activation_is_refused():
    with pytest.raises(ValueError, match="must be one of relu, gelu, gelu_tanh, quick_gelu; got 'swish'"):
        TransformerEncoderBlock(D, H, F, activation="swish")


@pytest.mark.parametrize("choice", CHOICES)
def test_an_encoder_block_computes_its_formula(choice, tmp_path):
    layer = TransformerEncoderBlock(D, H, F, **CHOICES[choice])
    tokens, memory = normal(B, T, D), normal(B, S, 6, seed=1)
    inputs = (tokens, tf.constant(MASK))
    if layer.cross_attention:
        inputs += (memory, tf.constant(MEMORY_MASK))
    layer(*inputs)
    trained_like(layer)
    expected = encoder_reference(layer, tokens.numpy().astype(float), MASK, memory.numpy().astype(float), MEMORY_MASK)
    # Padding reads too, but nothing is said of what it becomes where a causal row may see nothing real.
    np.testing.assert_allclose(layer(*inputs).numpy()[MASK], expected[MASK], atol=2e-5)
    has_bias = any("bias" in weight.name for weight in layer.weights)
    assert has_bias == (CHOICES[choice].get("use_bias", True) or CHOICES[choice].get("output_bias", False))
    check_layer(layer, *inputs, folder=tmp_path)


def test_a_mask_for_each_token_lets_it_read_just_that():
    layer = TransformerEncoderBlock(D, H, F)
    tokens = normal(B, T, D)
    prefix = np.tril(np.ones((T, T), bool)) | (np.arange(T) < 2)  # the first two are read by all
    layer(tokens)
    trained_like(layer)
    mask = tf.constant(np.broadcast_to(prefix, (B, T, T)))
    before = layer(tokens, mask).numpy()
    changed = tf.concat([tokens[:, :3], normal(B, 1, D, seed=2)], axis=1)
    np.testing.assert_array_equal(layer(changed, mask).numpy()[:, :3], before[:, :3])
    changed = tf.concat([tokens[:, :1], normal(B, 1, D, seed=2), tokens[:, 2:]], axis=1)
    assert np.abs(layer(changed, mask).numpy()[:, 0] - before[:, 0]).max() > 1e-3


@pytest.mark.parametrize("place", ["dropout", "attention_dropout", "feed_forward_dropout"])
@pytest.mark.parametrize("block", [TransformerEncoderBlock, TransformerDecoderBlock])
def test_dropout_works_in_its_place_and_in_training_alone(block, place):
    layer = block(D, H, F, **{place: 0.5})
    inputs = (normal(B, T, D),) if block is TransformerEncoderBlock else (normal(B, K, T, D), normal(B, S, D))
    plain = tf.nest.flatten(layer(*inputs))[0]
    np.testing.assert_array_equal(plain, tf.nest.flatten(layer(*inputs, training=False))[0])
    assert np.abs(plain - tf.nest.flatten(layer(*inputs, training=True))[0]).max() > 1e-3


@pytest.mark.parametrize("norm_first", [True, False])
def test_a_decoder_block_by_steps_equals_the_whole_with_every_choice(norm_first, tmp_path):
    layer = TransformerDecoderBlock(
        D, H, F, norm_first=norm_first, activation="gelu_tanh", epsilon=1e-5, output_bias=True, layer_scale=0.3
    )
    tokens, memory, mask = normal(B, K, T, D), normal(B, S, D, seed=1), tf.constant(MEMORY_MASK)
    layer(tokens, memory, mask)
    trained_like(layer)
    whole, _ = layer(tokens, memory, mask)
    remembered = layer.cross_attention.remember(memory, mask)
    cache, first = layer.self_attention.empty_cache(B, T, K), first_rows(B, H, T)
    own = np.tile(np.eye(K, dtype=bool), (B, 1, 1, T))
    for position in range(T):
        past = np.repeat(np.arange(T) <= position, K)
        rows, _, cache = layer.step(
            tf.reshape(tokens[:, :, position], (B * K, D)),
            cache,
            first + position,
            additive_mask(own & past),
            remembered,
            additive_mask(mask)[:, None, None],
        )
        np.testing.assert_allclose(rows, tf.reshape(whole[:, :, position], (B * K, D)), atol=2e-5)
    check_layer(layer, tokens, memory, mask, folder=tmp_path)
