"""Laws of the decoder's layers; every layer passes the contract."""

import numpy as np
import tensorflow as tf

from tests.layers.contract import check_layer, normal, trained_like
from vl_keras.layers.attention_ops import additive_mask
from vl_keras.layers.causal_self_attention import CausalSelfAttention, first_rows
from vl_keras.layers.feed_forward import FeedForward
from vl_keras.layers.masked_mean import masked_mean
from vl_keras.layers.sentinel_attention import SentinelAttention
from vl_keras.layers.sentinel_lstm import SentinelLstm
from vl_keras.layers.token_embedding import TokenEmbedding
from vl_keras.layers.transformer_blocks import TransformerDecoderBlock, TransformerEncoderBlock

B, K, L, R, D, H, V = 2, 3, 4, 5, 8, 2, 11


def test_causal_self_attention_reads_no_future():
    layer = CausalSelfAttention(D, H)
    tokens = normal(B, L, D)
    layer(tokens)
    trained_like(layer)
    changed = tf.concat([tokens[:, :2], 100.0 * normal(B, L - 2, D, seed=1)], 1)
    np.testing.assert_allclose(layer(tokens)[:, :2], layer(changed)[:, :2], atol=1e-6)
    assert np.abs(layer(tokens)[:, 2:] - layer(changed)[:, 2:]).max() > 0.1


def test_causal_self_attention_by_steps_equals_the_whole():
    layer = CausalSelfAttention(D, H)
    tokens = normal(B * K, L, D)
    whole = tf.reshape(layer(tokens), (B, K, L, D))
    beams = tf.reshape(tokens, (B, K, L, D))
    cache = layer.empty_cache(B, L, K)
    first = first_rows(B, H, L)
    own = np.tile(np.eye(K, dtype=bool), (B, 1, 1, L))
    for position in range(L):
        rows = tf.reshape(beams[:, :, position], (B * K, D))
        past = np.repeat(np.arange(L) <= position, K)
        read, cache = layer.step(rows, cache, first + position, additive_mask(own & past))
        np.testing.assert_allclose(read, tf.reshape(whole[:, :, position], (B * K, D)), atol=1e-5)


def test_sentinel_lstm_equals_the_formula():
    layer = SentinelLstm(D)
    inputs, output, memory = normal(B, L, 6), normal(B, D, seed=1), normal(B, D, seed=2)
    layer(inputs, (output, memory))
    trained_like(layer)
    outputs, sentinels = layer(inputs, (output, memory))
    kernel, bias, recurrent = (weight.numpy().astype("float64") for weight in layer.weights)
    h, c = output.numpy().astype("float64"), memory.numpy().astype("float64")

    def sigmoid(x):
        return 1 / (1 + np.exp(-x))

    for t in range(L):
        i, f, o, g, new = np.split(inputs.numpy()[:, t] @ kernel + bias + h @ recurrent, 5, axis=-1)
        c = sigmoid(f + 1) * c + sigmoid(i) * np.tanh(new)
        h = sigmoid(o) * np.tanh(c)
        np.testing.assert_allclose(outputs[:, t], h, atol=1e-5)
        np.testing.assert_allclose(sentinels[:, t], sigmoid(g) * np.tanh(c), atol=1e-5)


def test_sentinel_attention_shares_itself_between_looking_and_remembering():
    layer = SentinelAttention(D, H)
    output, sentinel, image = normal(B, L, D), normal(B, L, D, seed=1), normal(B, R, D, seed=2)
    mask = tf.constant([[True] * R, [False] * R])
    read, looked = layer(output, sentinel, image, mask)
    total = tf.reduce_sum(looked, -1).numpy()
    assert (total[0] > 0).all() and (total[0] < 1).all()
    assert (total[1] == 0).all()
    beta = read[1].numpy() / sentinel[1].numpy()  # with nothing to look at, only beta * sentinel is left
    np.testing.assert_allclose(beta, beta[:, :1].repeat(D, 1), rtol=1e-3)


def test_token_embedding_ties_input_and_output():
    layer = TokenEmbedding(V, D, max_length=L)
    ids = tf.constant(np.random.default_rng(0).integers(0, V, (B, K, L)))
    tokens = layer(ids)
    assert tokens.shape == (B, K, L, D)
    np.testing.assert_allclose(
        layer.logits(tokens), tokens.numpy() @ layer.embeddings.numpy().T + layer.bias.numpy(), atol=1e-4
    )
    for position in range(L):
        np.testing.assert_allclose(layer.step(ids[..., position], position), tokens[:, :, position], atol=1e-6)


def test_word_dropout_hides_words_in_training_only_and_never_the_first():
    layer = TokenEmbedding(V, D, word_dropout=0.999)
    ids = tf.fill((B, 50), 7)
    plain, trained = layer(ids), layer(ids, training=True)
    np.testing.assert_array_equal(plain[:, 0], trained[:, 0])
    unknown = layer(tf.ones_like(ids))
    assert (np.abs(trained[:, 1:] - unknown[:, 1:]).max(-1) == 0).mean() > 0.9
    np.testing.assert_array_equal(plain[:, 1], plain[:, 0])


def test_masked_mean():
    tokens, mask = normal(B, R, D), np.array([[1, 0, 1, 1, 0], [0, 0, 0, 0, 0]], bool)
    mean = masked_mean(tokens, tf.constant(mask))
    np.testing.assert_allclose(mean[0], tokens.numpy()[0, mask[0]].mean(0), atol=1e-6)
    assert (mean[1].numpy() == 0).all()


def test_contract(tmp_path):
    tokens, image = normal(B, L, D), normal(B, R, D, seed=1)
    mask = tf.constant([[True, False, True, True, False]] * B)
    state = (normal(B, D, seed=3), normal(B, D, seed=4))
    cases = [
        (CausalSelfAttention(D, H), (tokens,)),
        (FeedForward(D, 12), (tokens,)),
        (TransformerEncoderBlock(D, H, 12, 0.1), (image, mask)),
        (TransformerDecoderBlock(D, H, 12, 0.1), (normal(B, K, L, D), image, mask)),
        (SentinelLstm(D), (tokens, state)),
        (SentinelAttention(D, H), (tokens, normal(B, L, D, seed=2), image, mask)),
        (TokenEmbedding(V, D, L), (tf.constant([[1, 2, 3], [4, 5, 6]]),)),
    ]
    for layer, inputs in cases:
        folder = tmp_path / type(layer).__name__
        folder.mkdir()
        check_layer(layer, *inputs, folder=folder)
