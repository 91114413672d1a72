"""Random changes to training captions: synonyms, deleted words, swapped words (Wei and Zou, 2019, section 2)."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from vl_keras.data.wordnet_synonyms import find_wordnet, synonyms


def augment_captions(
    captions: Sequence[str],
    rng: np.random.Generator,
    synonym: float = 0.0,
    word_deletion: float = 0.0,
    word_swap: float = 0.0,
) -> list[str]:
    """Changes captions at random; if all probabilities are 0, they do not change.

    Words are separated by white space, so captions in Chinese or Japanese do not change. A caption never becomes empty.

    Args:
        captions: captions in lower case.
        rng: random generator; the same state yields the same captions.
        synonym: probability that a word is replaced by a WordNet synonym, if it has a safe one.
        word_deletion: probability that a word is deleted; punctuation between spaces stays.
        word_swap: probability that a word is swapped with the next one.

    Returns:
        A new list of captions.

    Raises:
        ImportError: `synonym` is above 0 and no WordNet is installed.
    """
    augmented: list[str] = []
    wordnet = find_wordnet() if synonym else None
    for caption in captions:
        words = caption.split()
        if len(words) < 2 or not (synonym or word_deletion or word_swap):
            augmented.append(caption)
            continue
        if synonym:
            words = _replace(words, rng, synonym, wordnet)
        if word_deletion:
            words = _delete(words, rng, word_deletion)
        if word_swap:
            words = _swap(words, rng, word_swap)
        augmented.append(" ".join(words))
    return augmented


def _replace(words: list[str], rng: np.random.Generator, chance: float, wordnet: Path | None) -> list[str]:
    draws = rng.random((len(words), 2))
    replaced = []
    for word, (draw, choice) in zip(words, draws, strict=True):
        options = synonyms(word, wordnet) if draw < chance else ()
        replaced.append(options[int(choice * len(options))] if options else word)
    return replaced


def _delete(words: list[str], rng: np.random.Generator, chance: float) -> list[str]:
    gone = rng.random(len(words)) < chance
    spoken = [index for index, word in enumerate(words) if any(character.isalnum() for character in word)]
    survivor = spoken[int(rng.random() * len(spoken))] if spoken else 0
    if all(gone[index] for index in spoken):
        gone[survivor] = False
    return [word for index, word in enumerate(words) if not gone[index] or index not in spoken]


def _swap(words: list[str], rng: np.random.Generator, chance: float) -> list[str]:
    words, draws = list(words), rng.random(len(words))
    for index in range(len(words) - 1):
        if draws[index] < chance:
            words[index], words[index + 1] = words[index + 1], words[index]
    return words
