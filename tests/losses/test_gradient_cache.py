"""A batch encoded in chunks has the loss and the gradients of the whole."""

import numpy as np
import pytest
import tensorflow as tf
import tf_keras as keras

from vl_keras.losses.gather_replicas import replica_loss
from vl_keras.losses.gradient_cache import cached_gradients
from vl_keras.losses.info_nce import info_nce

B, K, P, T, V, D = 12, 2, 7, 3, 11, 5  # P: features of an image
OWNER = np.repeat(np.arange(B), K)


class Encoders:
    """An image and a text encoder that share a head, and the loss of their vectors with a learned temperature."""

    def __init__(self, dropout=0.0, rng_type="stateful"):
        keras.utils.set_random_seed(1)
        self._image = keras.layers.Dense(9, "tanh")
        self._text = keras.layers.Embedding(V, 9)
        self._dropout = keras.layers.Dropout(dropout, rng_type=rng_type)
        self._head = keras.Sequential([keras.layers.LayerNormalization(), keras.layers.Dense(D)])
        self._log_scale = tf.Variable(0.5, name="log_scale")
        self(batch())
        layers = (self._image, self._text, self._head)
        self.encoder_variables = [variable for layer in layers for variable in layer.trainable_variables]
        # One that nothing depends on, and the loss's own.
        self.variables = [*self.encoder_variables, tf.Variable([1.0, 2.0], name="unused"), self._log_scale]
        self.generators = [self._dropout._random_generator._generator] if rng_type == "stateful" else []

    def __call__(self, inputs):
        image = self._dropout(self._image(inputs["image"]), training=True)
        text = self._dropout(tf.reduce_mean(self._text(inputs["text"]), axis=1), training=True)
        return tuple(tf.math.l2_normalize(self._head(vectors), axis=-1) for vectors in (image, text))

    def loss(self, image, text):
        # The head's weights also enter the loss itself: both ways to a variable count.
        decay = 0.01 * tf.reduce_sum(self._head.trainable_variables[2] ** 2)
        return replica_loss(info_nce, image, text, OWNER, self._log_scale) + decay


def batch():
    rng = np.random.default_rng(0)
    return {
        "image": tf.constant(rng.normal(size=(B, P)), tf.float32),
        "text": tf.constant(rng.integers(0, V, (B * K, T)), tf.int32),
    }


def plain_gradients(encoders, num_chunks=1):
    """Everything on one tape; dropout masks are drawn chunk by chunk, since they are drawn call by call."""
    split = {name: tf.split(tensor, num_chunks) for name, tensor in batch().items()}
    with tf.GradientTape() as tape:
        parts = [encoders({name: split[name][i] for name in split}) for i in range(num_chunks)]
        loss = encoders.loss(*(tf.concat(vectors, axis=0) for vectors in zip(*parts, strict=True)))
    return loss, [g if g is None else tf.convert_to_tensor(g) for g in tape.gradient(loss, encoders.variables)]


def cached(encoders, num_chunks):
    arguments = (num_chunks, encoders.variables, encoders.generators)
    return tf.function(lambda inputs: cached_gradients(encoders, encoders.loss, inputs, *arguments))(batch())


def assert_equal(result, expected):
    np.testing.assert_allclose(result[0], expected[0], rtol=1e-6)
    for gradient, wanted in zip(result[1], expected[1], strict=True):
        if wanted is None:
            assert gradient is None
        else:
            np.testing.assert_allclose(gradient, wanted, atol=1e-6)


def test_equals_the_whole_batch():
    encoders = Encoders()
    expected = plain_gradients(encoders)
    assert [gradient is None for gradient in expected[1]].count(True) == 1
    for num_chunks in (1, 3):
        assert_equal(cached(encoders, num_chunks), expected)
    eager = cached_gradients(encoders, encoders.loss, batch(), 4, encoders.variables)
    assert_equal(eager, expected)


def test_differs_from_the_mean_of_the_chunks_losses():
    """What accumulating the gradients of small batches would give is another, easier loss."""
    encoders = Encoders()
    image, text = encoders(batch())
    chunks = zip(tf.split(image, 3), tf.split(text, 3), strict=True)
    own = [info_nce(*chunk, OWNER[: B * K // 3], 0.5) for chunk in chunks]
    assert float(cached(encoders, 3)[0]) > np.mean(own) + 0.5


def test_both_passes_draw_the_same_dropout_masks():
    encoders = Encoders(dropout=0.4)
    (generator,) = encoders.generators
    start = generator.state.numpy()
    expected = plain_gradients(encoders, 3)
    end = generator.state.numpy()
    generator.reset(start)
    assert_equal(cached(encoders, 3), expected)
    np.testing.assert_array_equal(generator.state, end)
    assert abs(float(cached(encoders, 3)[0]) - float(expected[0])) > 0.01  # the next step draws others


@pytest.mark.parametrize("rng_type", ["stateful", "legacy_stateful"])
def test_other_randomness_is_refused(rng_type):
    with pytest.raises(tf.errors.InvalidArgumentError, match="not given as `generators`"):
        encoders = Encoders(dropout=0.1, rng_type=rng_type)
        cached_gradients(encoders, encoders.loss, batch(), 3, encoders.variables)


def test_a_batch_that_does_not_divide():
    with pytest.raises(ValueError, match="batch size must be divisible by `num_chunks`; got 12 and 5"):
        cached(Encoders(), 5)
