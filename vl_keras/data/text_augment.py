"""Random changes to training captions: synonyms, words left out, neighbours swapped (Wei and Zou, 2019, section 2)."""

from vl_keras.data.wordnet_synonyms import find_wordnet, synonyms


def augment_captions(captions, rng, synonym=0.0, word_deletion=0.0, word_swap=0.0):
    """Changes captions at random; with all chances 0 they come back as they are.

    Words are what white space separates, so captions in Chinese or Japanese stay as they are. A caption never becomes
    empty.

    Args:
        captions: list of `str`, lower case.
        rng: `numpy.random.Generator`; the same state gives the same captions.
        synonym: chance of each word to become a WordNet synonym, where it has a safe one.
        word_deletion: chance of each word to go; punctuation between spaces stays.
        word_swap: chance of each word to change places with its right neighbour.

    Returns:
        A new list of `str`.

    Raises:
        ImportError: `synonym` is above 0 and no WordNet is installed.
    """
    augmented, wordnet = [], find_wordnet() if synonym else None
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


def _replace(words, rng, chance, wordnet):
    draws = rng.random((len(words), 2))
    replaced = []
    for word, (draw, choice) in zip(words, draws, strict=True):
        options = synonyms(word, wordnet) if draw < chance else ()
        replaced.append(options[int(choice * len(options))] if options else word)
    return replaced


def _delete(words, rng, chance):
    gone = rng.random(len(words)) < chance
    spoken = [index for index, word in enumerate(words) if any(character.isalnum() for character in word)]
    survivor = spoken[int(rng.random() * len(spoken))] if spoken else 0
    if all(gone[index] for index in spoken):
        gone[survivor] = False
    return [word for index, word in enumerate(words) if not gone[index] or index not in spoken]


def _swap(words, rng, chance):
    words, draws = list(words), rng.random(len(words))
    for index in range(len(words) - 1):
        if draws[index] < chance:
            words[index], words[index + 1] = words[index + 1], words[index]
    return words
