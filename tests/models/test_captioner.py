import numpy as np
import pytest
import tensorflow as tf
import tf_keras as keras

from tests.layers.contract import normal, trained_like
from vl_keras.decoders import DECODERS
from vl_keras.encoders.image_outputs import image_encoder_model
from vl_keras.models.captioner import build_captioner

B, K, L, T, D, V = 2, 3, 5, 4, 8, 11
HEIGHT, WIDTH, FEATURES, TEXT = 32, 48, 7, 6


def image_encoder():
    image = keras.Input((None, None, 3), name="image")
    grid = keras.layers.Conv2D(FEATURES, 16, 16)(image / 255.0)
    tokens = tf.reshape(grid, (tf.shape(grid)[0], -1, FEATURES))
    return image_encoder_model(image, tokens)


def text_encoder():
    ids = keras.Input((None,), dtype="int32", name="input_word_ids")
    mask = keras.Input((None,), dtype="int32", name="input_mask")
    tokens = keras.layers.Embedding(20, TEXT)(ids) * tf.cast(mask, tf.float32)[..., None]
    inputs = {"input_word_ids": ids, "input_mask": mask}
    return keras.Model(inputs, {"text_tokens": tokens, "text_mask": mask > 0})


@pytest.fixture(scope="module", params=[*((decoder, 1) for decoder in sorted(DECODERS)), ("transformer", 2)])
def made(request):
    decoder, members = request.param
    captioner = build_captioner(
        image_encoder(),
        V,
        text_encoder=text_encoder(),
        decoder=decoder,
        members=members,
        hidden_dim=D,
        num_heads=2,
        num_layers=1,
        image_layers=1,
        intermediate_dim=12,
        max_length=L,
    )
    trained_like(captioner.training_model)
    rng = np.random.default_rng(3)
    inputs = {
        "image": 255 * tf.sigmoid(normal(B, HEIGHT, WIDTH, 3)),
        "input_word_ids": tf.constant(rng.integers(1, 20, (B, T)).astype("int32")),
        "input_mask": tf.constant([[1, 1, 1, 0], [0, 0, 0, 0]]),
    }
    return captioner, inputs, tf.constant(rng.integers(1, V, (B, K, L)).astype("int32"))


def test_the_training_model_and_the_captions_come_from_the_same_weights(made):
    captioner, inputs, _ = made
    written = captioner.generate(inputs, method="greedy", max_length=L)
    previous = tf.concat([tf.fill((B, 1, 1), 2), written.tokens[..., :-1]], -1)
    logits = captioner.training_model({**inputs, "caption_ids": previous}).numpy()
    logits[..., [0, 1, 2]] = -np.inf
    real = written.tokens.numpy() != 0
    np.testing.assert_array_equal(logits.argmax(-1)[real], written.tokens.numpy()[real])


def test_an_empty_context_changes_nothing_and_another_one_does(made):
    captioner, inputs, ids = made
    other = {**inputs, "input_word_ids": 19 - inputs["input_word_ids"]}
    one, two = (captioner.training_model({**each, "caption_ids": ids}).numpy() for each in (inputs, other))
    np.testing.assert_array_equal(one[1], two[1])
    assert np.abs(one[0] - two[0]).max() > 1e-3
    # The memory of an image without context is its image tokens: cutting the masked ones off leaves the same logits.
    tokens = captioner.image_encoder(inputs["image"])["image_tokens"]
    regions = tokens.shape[1]
    reader_inputs = {name: inputs[name] for name in ("input_word_ids", "input_mask")}
    memory = captioner.read({**reader_inputs, "image_tokens": tokens})
    alone = captioner.decoder.model([ids, memory["memory"][:, :regions], memory["memory_mask"][:, :regions]])
    np.testing.assert_allclose(one[1], alone[1], atol=1e-5)


def test_cached_tokens_give_the_logits_of_the_image(made):
    captioner, inputs, ids = made
    tokens = captioner.image_encoder(inputs["image"])["image_tokens"]
    written = captioner.generate(inputs, beam_size=2, max_length=L, return_attention=True)
    cached = {**{name: value for name, value in inputs.items() if name != "image"}, "image_tokens": tokens}
    again = captioner.generate(cached, beam_size=2, max_length=L, return_attention=True)
    np.testing.assert_array_equal(written.tokens, again.tokens)
    assert again.attention.shape[-1] == tokens.shape[1]


def test_the_model_from_tokens_is_the_model_from_images():
    encoder = image_encoder()
    settings = {"hidden_dim": D, "num_heads": 2, "num_layers": 1, "intermediate_dim": 12, "max_length": L}
    whole = build_captioner(encoder, V, **settings)
    cached = build_captioner(encoder, V, from_image_tokens=True, **settings)
    own = cached.reader.weights + cached.decoder.model.weights
    for variable, value in zip(own, whole.reader.weights + whole.decoder.model.weights, strict=True):
        variable.assign(value)
    image = 255 * tf.sigmoid(normal(B, HEIGHT, WIDTH, 3))
    ids = tf.ones((B, K, L), tf.int32)
    np.testing.assert_allclose(
        whole.training_model({"image": image, "caption_ids": ids}),
        cached.training_model({**encoder(image), "caption_ids": ids}),
        atol=1e-5,
    )
