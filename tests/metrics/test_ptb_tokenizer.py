from pathlib import Path

import pytest

from vl_keras.metrics.ptb_tokenizer import PUNCTUATION, is_dropped, ptb_tokenize


def test_the_tokens_are_those_of_the_java_tokenizer():
    """ptb_cases.tsv holds Java's answers; `benchmarks/ptb_parity.py --write-cases` writes them."""
    text = (Path(__file__).parent / "ptb_cases.tsv").read_text(encoding="utf-8")
    cases = [line.split("\t") for line in text.split("\n") if line]
    assert len(cases) > 900
    ours = ptb_tokenize([caption for caption, _ in cases])
    assert [(c, o, java) for (c, java), o in zip(cases, ours, strict=True) if o != java] == []


@pytest.mark.parametrize(
    "caption, tokens",
    [
        ("A man's dog cannot run .", "a man 's dog can not run"),
        ("The T-shirt (left), isn't it?", "the t-shirt -lrb- left -rrb- is n't it"),
        ('Mr. Lee says "1,000 dogs" -- really...', "mr. lee says 1,000 dogs really"),
        ("", ""),
        (" . ", ""),
    ],
)
def test_known_tokens(caption, tokens):
    assert ptb_tokenize([caption]) == [tokens]


def test_lines_are_tokenized_alone():
    captions = ["a dog (", ") runs 2", "1/2 mile", "it 's"]
    assert ptb_tokenize(captions) == [ptb_tokenize([caption])[0] for caption in captions]


def test_our_punctuation_is_pycocoevalcaps():
    reference = pytest.importorskip("pycocoevalcap.tokenizer.ptbtokenizer")
    assert PUNCTUATION == set(reference.PUNCTUATIONS)


@pytest.mark.parametrize(
    "one, other",
    [
        ("लड़का", "लड़की"),  # a boy, a girl: they differ in a vowel sign
        ("ছেলে", "ছেলা"),
        ("பெண்", "பெண"),
        ("అబ్బాయి", "అబ్బాయు"),
        ("เด็ก", "เดก"),
    ],
)
def test_vowel_signs_are_part_of_the_word(one, other):
    (first, second) = ptb_tokenize([one, other])
    assert first == one and second == other


def test_letters_that_the_java_tokenizer_drops_are_known():
    assert is_dropped("\u103c") and is_dropped("𐐔") and is_dropped("🐕")  # a Burmese sign, Deseret, an emoji
    assert not any(is_dropped(character) for character in "aé1ीกش犬½-‐")
