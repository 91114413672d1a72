"""Whatever a caption holds, the tokenizer learns it, encodes it and writes it back."""

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.texts import HARD, TEXTS
from vl_keras.data.text_ops import CaptionTokenizer
from vl_keras.errors import ConfigError

LENGTH = 12


def check(tokenizer, captions):
    ids = tokenizer.encode(tf.constant(captions), LENGTH)
    assert ids.shape == (len(captions), LENGTH) and (ids.numpy() == tokenizer.END).sum(axis=1).tolist() == [1] * len(
        captions
    )
    texts = tokenizer.detokenize(ids).numpy()
    again = tokenizer.detokenize(tokenizer.encode(tf.constant(texts), LENGTH)).numpy()
    assert all(isinstance(text, bytes) and text.decode("utf-8") is not None for text in [*texts, *again])


@settings(deadline=None, max_examples=40)
@given(st.lists(TEXTS, min_size=1, max_size=4))
def test_any_caption_is_learned_encoded_and_decoded(captions):
    tokenizer = CaptionTokenizer.learn(captions, 200)
    check(tokenizer, captions)
    check(CaptionTokenizer.learn(["a dog"], 50).extend(captions, 120), captions)


def test_hard_captions_together():
    tokenizer = CaptionTokenizer.learn(HARD, 2000)
    check(tokenizer, HARD)
    assert max(len(token.removeprefix("##").encode()) for token in tokenizer.vocab) <= 256


def test_a_word_at_the_limit_is_a_token_and_a_longer_one_its_characters():
    for word, whole in (("a" * 256, True), ("a" * 257, False), ("ก" * 85, True), ("ก" * 86, False)):
        tokenizer = CaptionTokenizer.learn([word], 100)
        assert (word in tokenizer.vocab) == whole
        assert tokenizer.detokenize(tokenizer.encode(tf.constant([word]), 300)).numpy()[0].decode() == word


def test_a_vocabulary_with_a_token_that_is_too_long_is_refused(tmp_path):
    path = tmp_path / "vocab.txt"
    path.write_text("\n".join([*CaptionTokenizer.SPECIALS, "a", "##" + "ก" * 86]) + "\n", encoding="utf-8")
    with pytest.raises(ConfigError, match="vocab.txt`, line 6: a token must have at most 256 bytes"):
        CaptionTokenizer.load(path)


def test_the_learner_reads_no_word_that_the_tokenizer_makes_unknown():
    long = "".join(np.random.default_rng(0).choice(list("abcdefgh"), 10_000))  # 50 million substrings
    tokenizer = CaptionTokenizer.learn([long, "a bad cage"], 300)
    assert {"bad", "cage"} <= set(tokenizer.vocab)
    assert not [token for token in tokenizer.vocab if len(token) > 8]
