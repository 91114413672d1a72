import numpy as np
import pytest
import tensorflow as tf

from tests.decoders.conftest import B, K, L, R, V, made
from tests.layers.contract import normal
from vl_keras.decoders import DECODERS


@pytest.fixture(scope="module", params=[*sorted(DECODERS), "ensemble"])
def decoder(request):
    return made(request.param)


def initial_state(decoder, *image):
    """For K beams that do not begin alike."""
    state = decoder.initial_state(*image, num_beams=K, max_length=L)
    return decoder.reorder(state, tf.zeros((B, K), tf.int32))


def test_step_by_step_equals_the_whole(decoder, image, caption_ids):
    whole = decoder.model([caption_ids, *image])
    assert whole.shape == (B, K, L, V) and whole.dtype == tf.float32
    state = initial_state(decoder, *image)
    for t in range(L):
        logits, state, looked = decoder.step(state, caption_ids[:, :, t])
        np.testing.assert_allclose(logits, whole[:, :, t], atol=2e-5)
        assert looked.shape == (B, K, R)
        assert (looked.numpy()[1, :, [2, 5]] == 0).all()


def test_an_image_without_regions_is_read_alike_by_steps_and_whole(decoder, image, caption_ids):
    tokens, mask = image
    nothing = mask & tf.constant([[True], [False]])
    whole = decoder.model([caption_ids, tokens, nothing])
    state = initial_state(decoder, tokens, nothing)
    for t in range(2):
        logits, state, looked = decoder.step(state, caption_ids[:, :, t])
        np.testing.assert_allclose(logits, whole[:, :, t], atol=2e-5)
        assert (looked.numpy()[1] == 0).all() and looked.numpy()[0].max() > 0


def test_reordering_beams_in_mid_caption_follows_their_past(decoder, image, caption_ids):
    parents = tf.constant([[2, 2, 0], [1, 0, 1]])
    state = initial_state(decoder, *image)
    for t in range(L):
        logits, state, _ = decoder.step(state, caption_ids[:, :, t])
        if t in (1, 2):
            state = decoder.reorder(state, parents)
            caption_ids = tf.concat([tf.gather(caption_ids[:, :, : t + 1], parents, batch_dims=1),
                                     caption_ids[:, :, t + 1 :]], -1)  # fmt: skip
    np.testing.assert_allclose(logits, decoder.model([caption_ids, *image])[:, :, -1], atol=2e-5)


def test_later_words_and_other_captions_change_nothing(decoder, image, caption_ids):
    changed = caption_ids.numpy()
    changed[:, 0, 3:] = 1
    changed[:, 1:] = 2
    before, after = decoder.model([caption_ids, *image]), decoder.model([changed, *image])
    np.testing.assert_allclose(before[:, 0, :3], after[:, 0, :3], atol=1e-5)
    assert np.abs(before[:, 0, 3:] - after[:, 0, 3:]).max() > 1e-3


def test_masked_regions_and_batch_neighbours_change_nothing(decoder, image, caption_ids):
    tokens, mask = image
    noise = tf.where(mask[..., None], 0.0, 30.0 * normal(*tokens.shape, seed=3))
    whole = decoder.model([caption_ids, tokens, mask]).numpy()
    np.testing.assert_array_equal(whole, decoder.model([caption_ids, tokens + noise, mask]))
    neighbour = tf.concat([tokens[:1], -tokens[1:]], 0)
    np.testing.assert_array_equal(whole[0], decoder.model([caption_ids, neighbour, mask])[0])
    assert np.abs(whole[1] - decoder.model([caption_ids, neighbour, mask])[1]).max() > 1e-3


def test_more_captions_of_an_image_change_nothing(decoder, image, caption_ids):
    together = decoder.model([caption_ids, *image])
    for k in range(K):
        np.testing.assert_allclose(
            together[:, k : k + 1], decoder.model([caption_ids[:, k : k + 1], *image]), atol=1e-5
        )


def test_every_weight_learns(decoder, image, caption_ids):
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(decoder.model([caption_ids, *image]) ** 2)
    for weight, gradient in zip(
        decoder.model.trainable_weights, tape.gradient(loss, decoder.model.trainable_weights), strict=True
    ):
        assert gradient is not None and np.abs(tf.convert_to_tensor(gradient)).max() > 0, weight.name
