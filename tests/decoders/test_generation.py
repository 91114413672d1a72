import itertools

import numpy as np
import pytest
import tensorflow as tf

from tests.decoders.conftest import B, L, R, V
from vl_keras.decoders import generation
from vl_keras.decoders.generation import _beam_choice, generate

START, END, FORBIDDEN = 2, 3, (0, 1, 2)


def write(decoder, image, **settings):
    settings = {"max_length": L, "beam_size": 4, **settings}
    return tf.function(lambda *image: generate(decoder, *image, **settings))(*image)


def log_probs_of(decoder, image, tokens):
    """Log-probability of `(B, K, L)` captions by the whole-prefix model, with forbidden tokens taken out."""
    tokens = np.asarray(tokens)
    previous = np.concatenate([np.full_like(tokens[..., :1], START), tokens[..., :-1]], -1)
    logits = decoder.model([previous, *image]).numpy().astype("float64")
    logits[..., list(FORBIDDEN)] = -np.inf
    log_p = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    return np.take_along_axis(log_p, tokens[..., None], -1)[..., 0].sum(-1, where=tokens != 0)


def lengths(tokens):
    return (np.asarray(tokens) != 0).sum(-1)


@pytest.mark.parametrize("penalty", [1.0, 2.5])
def test_greedy_takes_the_likeliest_token_of_the_whole_prefix_model(decoder, image, penalty):
    written = write(decoder, image, method="greedy", repetition_penalty=penalty)
    tokens = np.full((B, 1, 1), START)
    for _ in range(L):
        logits = decoder.model([tokens, *image])[:, :, -1].numpy()
        for row, said in zip(logits[:, 0], tokens[:, 0, 1:], strict=True):
            row[said] = np.where(row[said] > 0, row[said] / penalty, row[said] * penalty)
        logits[..., list(FORBIDDEN)] = -np.inf
        tokens = np.concatenate([tokens, logits.argmax(-1)[..., None]], -1)
    tokens = tokens[..., 1:]
    ended = np.cumsum(tokens == END, -1) - (tokens == END) > 0
    np.testing.assert_array_equal(written.tokens, np.where(ended, 0, tokens))
    if penalty == 1.0:
        np.testing.assert_allclose(written.log_probs, log_probs_of(decoder, image, written.tokens), atol=1e-4)


def test_beam_one_equals_greedy(decoder, image):
    greedy, beam = write(decoder, image, method="greedy"), write(decoder, image, beam_size=1)
    np.testing.assert_array_equal(greedy.tokens, beam.tokens)
    np.testing.assert_allclose(greedy.scores, beam.scores, atol=1e-5)


@pytest.mark.parametrize("alpha", [0.0, 0.7])
def test_a_wide_beam_equals_brute_force(decoder, image, alpha):
    words, length = [3, 4, 5, 6], 3
    forbidden = tuple(set(range(V)) - set(words))
    every = []
    for size in range(1, length + 1):
        for caption in itertools.product(words, repeat=size):
            ended = [i for i, token in enumerate(caption) if token == END]
            if (ended == [size - 1]) or (not ended and size == length):
                every.append([*caption, *[0] * (length - size)])
    every = np.array(every, "int32")
    tokens = np.tile(every[None], (B, 1, 1))
    previous = np.concatenate([np.full_like(tokens[..., :1], START), tokens[..., :-1]], -1)
    logits = decoder.model([previous, *image]).numpy().astype("float64")
    logits[..., list(forbidden)] = -np.inf
    log_p = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    log_p = np.where(tokens != 0, np.take_along_axis(log_p, tokens[..., None], -1)[..., 0], 0).sum(-1)
    scores = log_p / ((5 + lengths(tokens)) / 6) ** alpha
    best = np.argsort(-scores, axis=1)[:, :6]
    written = write(
        decoder, image, beam_size=40, num_captions=6, max_length=length, length_penalty=alpha, forbidden_ids=forbidden
    )
    np.testing.assert_array_equal(written.tokens, np.take_along_axis(tokens, best[..., None], 1))
    np.testing.assert_allclose(written.scores, np.take_along_axis(scores, best, 1), atol=1e-4)


def test_scores_are_the_models_own_and_best_comes_first(decoder, image):
    written = write(decoder, image, beam_size=5, num_captions=5, length_penalty=0.9)
    expected = log_probs_of(decoder, image, written.tokens)
    np.testing.assert_allclose(written.log_probs, expected, atol=1e-4)
    np.testing.assert_allclose(written.scores, expected / ((5 + lengths(written.tokens)) / 6) ** 0.9, atol=1e-4)
    assert (np.diff(written.scores, axis=1) <= 0).all()
    assert all(len({tuple(row) for row in rows}) == 5 for rows in written.tokens.numpy())


@pytest.mark.parametrize("method", ["greedy", "beam", "sample"])
def test_nothing_follows_the_end_and_forbidden_tokens_never_come(decoder, image, method):
    tokens = write(decoder, image, method=method, num_captions=4 if method != "greedy" else 1).tokens.numpy()
    after_end = np.cumsum(tokens == END, -1) - (tokens == END) > 0
    assert (tokens[after_end] == 0).all()
    assert not np.isin(tokens[~after_end], FORBIDDEN).any()


def test_a_finished_caption_never_changes(decoder, image):
    """Where the end is made likely, captions finish early, and a longer limit must not touch them."""
    bias = decoder.model.get_layer("embedding").bias
    before = bias.numpy()
    for more in range(0, 30):
        bias.assign(tf.tensor_scatter_nd_add(before, [[END]], [float(more)]))
        short = write(decoder, image, method="greedy", max_length=L - 1)
        if (short.tokens.numpy() == END).any(-1).all():
            break
    try:
        long = write(decoder, image, method="greedy", max_length=L)
    finally:
        bias.assign(before)
    finished = (short.tokens.numpy() == END).any(-1)
    assert finished.all()
    np.testing.assert_array_equal(short.tokens, long.tokens[..., : L - 1])
    assert (long.tokens.numpy()[..., -1] == 0).all()
    np.testing.assert_allclose(short.log_probs, long.log_probs, atol=1e-5)


def test_batch_neighbours_do_not_matter(decoder, image):
    tokens, mask = image
    written = write(decoder, image, num_captions=3)
    changed = write(decoder, (tf.concat([tokens[:1], 3.0 * tokens[1:]], 0), mask), num_captions=3)
    np.testing.assert_array_equal(written.tokens[0], changed.tokens[0])
    np.testing.assert_array_equal(written.scores[0], changed.scores[0])
    alone = write(decoder, (tokens[:1], mask[:1]), num_captions=3)
    np.testing.assert_array_equal(written.tokens[0], alone.tokens[0])
    np.testing.assert_allclose(written.scores[0], alone.scores[0], atol=1e-4)


def test_minimum_length(decoder, image):
    for least in (1, 3, L):
        tokens = write(decoder, image, num_captions=4, min_length=least).tokens
        assert lengths(tokens).min() >= least


@pytest.mark.parametrize("size", [1, 2])
def test_no_ngram_is_repeated(decoder, image, size):
    def repeated(tokens):
        rows = [row[row != 0].tolist() for row in tokens.numpy().reshape(-1, tokens.shape[-1])]
        grams = [[tuple(row[i : i + size]) for i in range(len(row) - size + 1)] for row in rows]
        return any(len(set(row)) < len(row) for row in grams)

    allowed = [4, 5, END]
    settings = {"forbidden_ids": tuple(set(range(V)) - set(allowed)), "num_captions": 4, "min_length": 3}
    assert repeated(write(decoder, image, **settings).tokens)
    if size == 2:
        settings["min_length"] = 0
    else:
        settings |= {"min_length": 0, "forbidden_ids": FORBIDDEN}
    assert not repeated(write(decoder, image, no_repeat_ngram=size, **settings).tokens)


def test_attention_follows_each_caption_through_the_search(decoder, image):
    written = write(decoder, image, num_captions=4, return_attention=True)
    assert written.attention.shape == (B, 4, L, R)
    previous = tf.concat([tf.fill((B, 4, 1), START), written.tokens[..., :-1]], -1)
    state = decoder.initial_state(*image, num_beams=4, max_length=L)
    state = decoder.reorder(state, tf.zeros((B, 4), tf.int32))
    for t in range(L):
        _, state, looked = decoder.step(state, previous[:, :, t])
        real = (written.tokens.numpy()[..., t] != 0)[..., None]
        np.testing.assert_allclose(written.attention[:, :, t], looked * real, atol=1e-5)


def test_sampling_follows_the_models_distribution(decoder, image):
    draws = write(decoder, image, method="sample", num_captions=4000, max_length=1, seed=3).tokens.numpy()[..., 0]
    logits = decoder.model([tf.fill((B, 1, 1), START), *image]).numpy()[:, 0, 0]
    logits[:, list(FORBIDDEN)] = -np.inf
    expected = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    for row in range(B):
        seen = np.bincount(draws[row], minlength=V) / draws.shape[1]
        np.testing.assert_allclose(seen, expected[row], atol=5 * np.sqrt(0.25 / draws.shape[1]))


def test_the_seed_decides_a_sample(decoder, image):
    settings = {"method": "sample", "num_captions": 6}
    one, same, other = (write(decoder, image, seed=seed, **settings).tokens.numpy() for seed in (1, 1, 2))
    np.testing.assert_array_equal(one, same)
    assert (one != other).any()


def test_top_k_top_p_and_temperature_narrow_the_choice(decoder, image):
    settings = {"method": "sample", "num_captions": 300, "max_length": 1}
    logits = decoder.model([tf.fill((B, 1, 1), START), *image]).numpy()[:, 0, 0]
    logits[:, list(FORBIDDEN)] = -np.inf
    order = np.argsort(-logits, axis=-1)
    top_two = write(decoder, image, top_k=2, **settings).tokens.numpy()[..., 0]
    assert all(set(top_two[row]) == set(order[row, :2]) for row in range(B))
    probability = np.take_along_axis(np.exp(logits) / np.exp(logits).sum(-1, keepdims=True), order, -1)
    nucleus = write(decoder, image, top_p=0.6, **settings).tokens.numpy()[..., 0]
    for row in range(B):
        size = int((np.cumsum(probability[row]) - probability[row] < 0.6).sum())
        assert set(nucleus[row]) <= set(order[row, :size])
    cold = write(decoder, image, temperature=1e-3, **settings).tokens.numpy()[..., 0]
    assert all((cold[row] == order[row, 0]).all() for row in range(B))


def test_xla_writes_the_same(decoder, image):
    for settings in ({"method": "greedy"}, {"beam_size": 3, "num_captions": 2}):
        plain = write(decoder, image, **settings)
        jitted = tf.function(
            lambda *image, settings=settings: generate(decoder, *image, max_length=L, **settings)[:3],
            jit_compile=True,
        )(*image)
        np.testing.assert_array_equal(plain.tokens, jitted[0])
        np.testing.assert_allclose(plain.scores, jitted[1], atol=1e-4)


@pytest.mark.parametrize("vocab_size", [7, 33, 960, 1013])
@pytest.mark.parametrize("kept", [1, 3])
@pytest.mark.parametrize("num_beams", [1, 4])
def test_beams_are_the_best_of_all_continuations(vocab_size, kept, num_beams):
    rng = np.random.default_rng(0)
    logits = tf.constant(rng.integers(0, 40, (B, kept, vocab_size)).astype("float32"))  # many ties within a caption
    loop = {
        "log_probs": tf.constant(rng.normal(-5.0, 1.0, (B, kept)).astype("float32")),
        "lengths": tf.constant(rng.integers(1, 9, (B, kept)).astype("int32")),
        "finished": tf.constant([[False, True, False][:kept], [False, False, True][:kept]]),
    }
    finished = loop["finished"].numpy()[..., None]
    itself = np.where(np.arange(vocab_size) == 0, 0.0, -np.inf)
    log_probs = loop["log_probs"].numpy()[..., None] + np.where(finished, itself, tf.nn.log_softmax(logits))
    ranks = log_probs / ((5 + loop["lengths"].numpy()[..., None] + ~finished) / 6) ** 0.7
    best = np.argsort(-ranks.reshape(B, -1).round(4), axis=1, kind="stable")[:, :num_beams]
    parents, tokens, got = _beam_choice(num_beams, 0.7)(logits, loop)
    np.testing.assert_array_equal(parents, best // vocab_size)
    np.testing.assert_array_equal(tokens, best % vocab_size)
    np.testing.assert_allclose(got, np.take_along_axis(log_probs.reshape(B, -1), best, 1), atol=1e-4)


def test_a_caption_that_can_only_go_on_forbidden_is_not_preferred():
    """Its logits are all so low that float32 has no room beside them for what it is worth."""
    logits = np.random.default_rng(0).normal(size=(1, 2, 960)).astype("float32")
    logits[:, 0] = -1e9
    loop = {
        "log_probs": tf.constant([[-30.0, -5.0]]),
        "lengths": tf.constant([[3, 3]]),
        "finished": tf.constant([[False, False]]),
    }
    parents, tokens, log_probs = _beam_choice(2, 0.7)(tf.constant(logits), loop)
    np.testing.assert_array_equal(parents, [[1, 1]])
    np.testing.assert_array_equal(tokens[0], np.argsort(-logits[0, 1])[:2])
    np.testing.assert_allclose(log_probs[0], np.sort(tf.nn.log_softmax(logits[0, 1]))[:-3:-1] - 5.0, atol=1e-5)


def test_the_search_ends_when_nothing_can_beat_what_is_finished(decoder, image, monkeypatch):
    """The end is likely here; searches that go on until all kept captions are finished find the same, later."""

    class Counting:
        vocab_size, initial_state, reorder = decoder.vocab_size, decoder.initial_state, decoder.reorder
        steps = 0

        def step(self, *arguments):
            self.steps += 1
            return decoder.step(*arguments)

    bias = decoder.model.get_layer("embedding").bias
    before = bias.numpy()
    early, late = Counting(), Counting()
    for more, captions, alpha in itertools.product((2.0, 4.0), (1, 3), (0.0, 0.7, 2.0)):
        settings = {"num_captions": captions, "length_penalty": alpha, "max_length": L, "beam_size": 4}
        bias.assign(tf.tensor_scatter_nd_add(before, [[END]], [more]))
        try:
            found = generate(early, *image, **settings)
            with monkeypatch.context() as patch:
                patch.setattr(generation, "_beam_is_over", lambda *_: generation._all_finished)
                wanted = generate(late, *image, **settings)
        finally:
            bias.assign(before)
        np.testing.assert_array_equal(found.tokens, wanted.tokens)
        np.testing.assert_allclose(found.scores, wanted.scores, atol=1e-6)
    assert early.steps < late.steps


def test_settings_that_cannot_be(decoder, image):
    with pytest.raises(ValueError, match="greedy, beam or sample"):
        generate(decoder, *image, method="best")
    with pytest.raises(ValueError, match="got 5 and 3"):
        generate(decoder, *image, beam_size=3, num_captions=5)
