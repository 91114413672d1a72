"""Streams beside image and text, and tokens that are padding."""

import numpy as np
import pytest
import tensorflow as tf
import tf_keras as keras

from tests.layers.contract import normal, trained_like
from vl_keras.encoders.image_outputs import image_encoder_model
from vl_keras.encoders.text_model import TextModelSettings, small_text_model
from vl_keras.models.pair_classifier import build_pair_classifier
from vl_keras.models.token_reader import MaskedTokens

B, K, T, R, S, D, V = 4, 2, 5, 6, 3, 8, 11
WIDTH = 2  # of the made third stream, a float series


def encoders():
    image = keras.Input((None, None, 3), name="image")
    features = keras.layers.Conv2D(7, 16, 16)(image / 255.0)
    text = TextModelSettings(V, T, D, num_heads=2, num_layers=1, intermediate_dim=12)
    return image_encoder_model(image, features), small_text_model(text)


def classifier(streams=None, **settings):
    sizes = {"hidden_dim": D, "num_heads": 2, "num_layers": 1, "intermediate_dim": 12, "dropout": 0.0}
    return build_pair_classifier(*encoders(), 1, fusion="multi_stream", streams=streams, **sizes, **settings)


def series_encoder():
    raw = keras.Input((None, WIDTH), name="series")
    mask = keras.Input((None,), dtype="bool", name="series_mask")
    tokens = keras.layers.Dense(5, name="steps")(raw)
    return keras.Model({"series": raw, "series_mask": mask}, {"series_tokens": tokens, "series_mask": mask})


def batch(seed=0):
    """A batch whose label is the sign of the series; every other row has none."""
    rng = np.random.default_rng(seed)
    sign = rng.choice([-1.0, 1.0], 64)
    return {
        "image": rng.uniform(0, 255, (64, 32, 48, 3)).astype("float32"),
        "text_ids": rng.integers(1, V, (64, K, T)).astype("int32"),
        "series_tokens": (sign[:, None, None] + rng.normal(scale=0.1, size=(64, S, WIDTH))).astype("float32"),
        "series_mask": np.repeat(np.arange(64)[:, None] % 2 == 0, S, axis=1),
    }, np.repeat(sign[:, None, None] > 0, K, axis=1).astype("float32")


def test_a_third_stream_is_trained_and_gated_out_where_it_is_absent():
    model = classifier({"series": WIDTH})
    x, y = batch()
    there = x["series_mask"].any(axis=1)
    model.training_model.compile(
        keras.optimizers.Adam(0.02), keras.losses.BinaryCrossentropy(from_logits=True), metrics=["accuracy"]
    )
    model.training_model.fit(x, y, sample_weight=there.astype("float32"), epochs=8, batch_size=16, verbose=0)
    other, truth = batch(1)
    logits = model.training_model.predict(other, verbose=0)
    assert ((logits > 0) == (truth > 0))[there].mean() > 0.95
    changed = {**other, "series_tokens": np.where(there[:, None, None], other["series_tokens"], 1e3)}
    np.testing.assert_array_equal(model.training_model.predict(changed, verbose=0), logits)


def test_a_stream_may_have_an_encoder_which_is_a_part_of_its_own():
    model = classifier({"series": series_encoder()})
    assert sorted(model.parts()) == ["image_encoder", "image_reader", "pair_reader", "series_encoder", "text_encoder"]
    x, _ = batch()
    x = {**x, "series": x["series_tokens"]}
    x = {name: tf.constant(value[:B]) for name, value in x.items() if name != "series_tokens"}
    logits = model.training_model(x)
    streams = model.read_streams(x)
    for k in range(K):
        alone = model.answer(model.read_images(x), x["text_ids"][:, k], streams)["logits"]
        np.testing.assert_allclose(alone, logits[:, k], atol=1e-5)


def test_reading_one_stream_alone_is_blind_to_the_others():
    model = classifier({"series": WIDTH}, reads="series")
    trained_like(model.training_model)
    x = {name: tf.constant(value[:B]) for name, value in batch()[0].items()}
    before = model.training_model(x)
    np.testing.assert_array_equal(model.training_model({**x, "image": 255.0 - x["image"]}), before)
    changed = model.training_model({**x, "series_tokens": -x["series_tokens"]})
    assert np.abs(changed - before).max() > 1e-3


def test_padded_image_tokens_and_images_that_are_not_there_change_nothing():
    model = classifier(image_layers=1, from_image_tokens=True)
    trained_like(model.training_model)
    mask = np.ones((B, R), bool)
    mask[0, 4:], mask[1] = False, False
    x = {"image_tokens": normal(B, R, 7), "image_mask": tf.constant(mask), "text_ids": tf.ones((B, K, T), tf.int32)}
    before = model.training_model(x)
    changed = tf.where(mask[..., None], x["image_tokens"], 100.0 * normal(B, R, 7, seed=1))
    np.testing.assert_allclose(model.training_model({**x, "image_tokens": changed}), before, atol=1e-5)
    absent = {"image": 255 * tf.sigmoid(normal(B, 32, 48, 3)), "image_mask": tf.constant([True, False, True, True])}
    read = model.read_images(absent)
    np.testing.assert_array_equal(tf.reduce_any(read.mask, axis=1), absent["image_mask"])
    assert isinstance(read, MaskedTokens) and (read.tokens[1].numpy() == 0).all()


def test_a_fusion_of_two_streams_refuses_a_third():
    with pytest.raises(ValueError, match="`fusion` gated joins exactly two.*series beside them.*one of: multi_stream"):
        build_pair_classifier(*encoders(), 1, fusion="gated", streams={"series": WIDTH})
