import importlib.util

import numpy as np
import pytest

from vl_keras.data.text_augment import augment_captions
from vl_keras.data.wordnet_synonyms import find_wordnet, synonyms

CAPTIONS = ["a large dog sits on a sofa .", "two kids are leaning on a rug", "dog", "", "a  dog", "一只狗"]

# Lines as WordNet's own index.sense has them: key, offset, sense number, count in tagged texts.
INDEX = """
couch%1:06:00:: 04256520 1 17
couch%2:32:00:: 00983329 1 1
sofa%1:06:00:: 04256520 1 12
lounge%1:06:00:: 04256520 1 0
child%1:18:00:: 09917593 1 148
child%1:18:01:: 09918248 2 65
kid%1:18:00:: 09917593 1 53
lean%2:38:00:: 02038357 1 22
tilt%2:38:00:: 02038357 1 6
large%3:00:00:: 01382086 1 129
big%3:00:00:: 01382086 1 158
play%1:10:00:: 07007945 1 20
play%2:33:00:: 01072949 1 20
drama%1:10:00:: 07007945 1 20
red%3:00:01:: 00381097 1 43
reddish%5:00:00:: 00381097 1 20
huge%3:00:00:: 01387319 1 21
immense%3:00:00:: 01387319 1 9
sea_horse%1:05:00:: 02538010 1 3
"""


@pytest.fixture
def wordnet(tmp_path, monkeypatch):
    (tmp_path / "index.sense").write_text(INDEX.lstrip())
    monkeypatch.setenv("VL_KERAS_WORDNET", str(tmp_path))
    return tmp_path


def test_zero_rates_are_identity_and_need_no_wordnet(monkeypatch):
    monkeypatch.setenv("VL_KERAS_WORDNET", "/nowhere")
    assert augment_captions(CAPTIONS, np.random.default_rng(0)) == CAPTIONS


def test_the_same_generator_state_gives_the_same_captions(wordnet):
    first, again, other = (
        augment_captions(CAPTIONS * 5, np.random.default_rng(seed), 0.5, 0.3, 0.3) for seed in (3, 3, 4)
    )
    assert first == again != other


def test_no_caption_is_ever_emptied(wordnet):
    captions = ["a dog runs", "dog .", "dog", "one two three four five"]
    for seed in range(20):
        for caption in augment_captions(captions, np.random.default_rng(seed), 0, 1.0, 1.0):
            assert any(character.isalnum() for character in caption)


def test_deletion_only_deletes_and_at_its_rate():
    caption = " ".join(f"word{i}" for i in range(1000))
    kept = augment_captions([caption], np.random.default_rng(0), word_deletion=0.2)[0].split()
    assert kept == sorted(kept, key=lambda word: int(word[4:])) and set(kept) <= set(caption.split())
    assert 0.76 < len(kept) / 1000 < 0.84


def test_swap_keeps_the_words():
    caption = "one brown dog runs after two balls"
    swapped = augment_captions([caption], np.random.default_rng(1), word_swap=0.5)[0]
    assert swapped != caption and sorted(swapped.split()) == sorted(caption.split())


def test_synonyms_keep_part_of_speech_inflection_and_article(wordnet):
    assert synonyms("couch") == ("sofa",)  # not "lounge", which the tagged texts never use so
    assert synonyms("large") == ("big",)
    assert synonyms("kids") == ()  # "children" is irregular
    assert synonyms("leaning") == ("tilting",)
    assert synonyms("sofas") == ("couches",)
    assert synonyms("play") == ()  # noun as often as verb
    assert synonyms("red") == () == synonyms("left")
    assert synonyms("huge") == ()  # "an immense" would need another article
    assert synonyms("unheard") == ()


def test_synonym_rate_one_replaces_what_can_be(wordnet):
    changed = augment_captions(["a large sofa , a child leans"], np.random.default_rng(0), synonym=1.0)
    assert changed == ["a big couch , a kid tilts"]


def test_a_missing_wordnet_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setenv("VL_KERAS_WORDNET", str(tmp_path))
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    if __import__("os").path.exists("/usr/share/wordnet/index.sense"):
        pytest.skip("this machine has Debian's WordNet, so it is not missing")
    with pytest.raises(ImportError, match=r"pip install vl_keras\[augment\]"):
        augment_captions(["a dog runs"], np.random.default_rng(0), synonym=0.1)


def test_with_the_installed_wordnet():
    try:
        find_wordnet()
    except ImportError as error:
        pytest.skip(f"no WordNet is installed: {error}")
    assert "sofa" in synonyms("couch") and synonyms("left") == ()
