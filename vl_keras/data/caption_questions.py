"""Questions with answers made from captions: what is there, how many there are, and which colour they have."""

import collections
import functools
import random
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from vl_keras.data.wordnet_synonyms import find_wordnet

_COLORS = frozenset("red orange yellow green blue purple pink brown black white gray grey tan".split())
_NUMBERS = {"a": 1, "an": 1, "one": 1, "two": 2, "three": 3, "four": 4, "five": 5, "six": 6}
_IRREGULAR = {
    "men": "man",
    "women": "woman",
    "children": "child",
    "people": "person",
    "mice": "mouse",
    "geese": "goose",
}
_PLURALS = {singular: plural for plural, singular in _IRREGULAR.items()}
# WordNet's files of nouns for things that a photo shows: animals, artifacts, food, natural objects, people, plants.
_VISIBLE = {"05": "animal", "06": "artifact", "13": "food", "17": "object", "18": "person", "20": "plant"}
# Captions call the same person, animal or meadow by many names, so "no" needs images without any word of this kind.
_MANY_NAMES = frozenset({"animal", "person", "plant", "object"})
_NOT_A_THING = frozenset("front back side top bottom middle corner edge end line area way left right sunglass".split())
_RARELY = 0.1  # share of a thing's mentions
_AN = re.compile("[aeio]|u(?!ni|s)|hour")
_WORD = re.compile(r"[a-z]+")


class CaptionQuestion(NamedTuple):
    """A question about an image that its captions answer.

    Attributes:
        question: e.g. "is there a dog?".
        answer: "yes", "no", a digit, or a colour.
        kind: "yes/no", "number" or "color".
    """

    question: str
    answer: str
    kind: str


class _Caption(NamedTuple):
    """What one caption says: the things in it, which of them as "a dog" or "dogs", their number and colour if told."""

    things: set[str]
    countable: set[str]
    counts: dict[str, int]
    colors: dict[str, str]


def caption_questions(
    captions: Sequence[Sequence[str]], seed: int = 0, wordnet: str | Path | None = None
) -> list[list[CaptionQuestion]]:
    """Makes questions about images from their English captions.

    - "is there a dog?": yes if two captions of the image (or its only one) mention it. For each of these questions the
      same question is asked about one image whose captions mention neither it nor, for people, animals, plants and
      natural objects, anything of its kind. So the words of the question do not give the answer away.
    - "how many dogs are there?": if two captions (or the only one) tell the number and none tells another one. Images
      with one are left out where there are more of them than of all others.
    - "what color is the shirt?": if all captions that tell its colour agree.

    "No" means that no caption mentions it: a thing that nobody found worth mentioning counts as absent.

    Args:
        captions: list of strings for each image.
        seed: of the random choices.
        wordnet: path of `index.sense`; by default the result of `find_wordnet`.

    Returns:
        List of `CaptionQuestion` for each image.

    Raises:
        ImportError: there is no WordNet.
    """
    kinds = _kinds_of_things(str(wordnet or find_wordnet()))
    read = [[_read(caption, kinds) for caption in own] for own in captions]
    return [
        [*presence, *counts, *colors]
        for presence, counts, colors in zip(
            _presence(read, kinds, random.Random(seed)),
            _counts(read, random.Random(seed + 1)),
            map(_colors, read),
            strict=True,
        )
    ]


def _presence(
    read: Sequence[Sequence[_Caption]], kinds: dict[str, str], chance: random.Random
) -> list[list[CaptionQuestion]]:
    there = [_agreed(own) for own in read]
    mentioned = [set().union(*(caption.things for caption in own)) for own in read]
    mentioned_kinds = [{kinds[thing] for thing in things} for things in mentioned]
    images_with: dict[str, list[int]] = collections.defaultdict(list)
    for image, things in enumerate(there):
        for thing in sorted(things):
            images_with[thing].append(image)
    questions: list[list[CaptionQuestion]] = [[] for _ in read]
    articles = _articles(read)
    for thing, images in images_with.items():
        without = [
            image
            for image in range(len(read))
            if read[image]
            and thing not in mentioned[image]
            and not (kinds[thing] in _MANY_NAMES and kinds[thing] in mentioned_kinds[image])
        ]
        count = min(len(images), len(without))  # as many of one answer as of the other
        text = f"is there {articles[thing]} {thing}?"
        for answer, chosen in (("yes", chance.sample(images, count)), ("no", chance.sample(without, count))):
            for image in chosen:
                questions[image].append(CaptionQuestion(text, answer, "yes/no"))
    return questions


def _articles(read: Sequence[Sequence[_Caption]]) -> dict[str, str]:
    """The word before each thing in a question: "any" if captions rarely count it, as with grass."""
    captions = [caption for own in read for caption in own]
    mentions = collections.Counter(thing for caption in captions for thing in caption.things)
    counted = collections.Counter(thing for caption in captions for thing in caption.countable)
    return {
        thing: "any" if counted[thing] < _RARELY * count else "an" if _AN.match(thing) else "a"
        for thing, count in mentions.items()
    }


def _counts(read: Sequence[Sequence[_Caption]], chance: random.Random) -> list[list[CaptionQuestion]]:
    found: dict[bool, list[tuple[int, str, int]]] = {True: [], False: []}
    for image, own in enumerate(read):
        for thing in sorted(_agreed(own)):
            told = [caption.counts[thing] for caption in own if thing in caption.counts]
            if len(told) >= min(2, len(own)) and len(set(told)) == 1:
                found[told[0] == 1].append((image, thing, told[0]))
    ones = chance.sample(found[True], min(len(found[True]), len(found[False])))
    questions: list[list[CaptionQuestion]] = [[] for _ in read]
    for image, thing, count in sorted(ones + found[False]):
        questions[image].append(CaptionQuestion(f"how many {_plural(thing)} are there?", str(count), "number"))
    return questions


def _colors(own: Sequence[_Caption]) -> list[CaptionQuestion]:
    told: dict[str, set[str]] = collections.defaultdict(set)
    for caption in own:
        for thing, color in caption.colors.items():
            told[thing].add("gray" if color == "grey" else color)
    return [
        CaptionQuestion(f"what color is the {thing}?", next(iter(colors)), "color")
        for thing, colors in sorted(told.items())
        if len(colors) == 1
    ]


def _agreed(own: Sequence[_Caption]) -> set[str]:
    """The things that two captions mention, or the only caption."""
    mentions = collections.Counter(thing for caption in own for thing in caption.things)
    return {thing for thing, count in mentions.items() if count >= min(2, len(own))}


def _read(text: str, kinds: dict[str, str]) -> _Caption:
    words = _WORD.findall(text.lower())
    caption = _Caption(set(), set(), {}, {})
    disputed: set[str] = set()  # a caption that tells two numbers or two colours of one thing tells neither
    for place, word in enumerate(words):
        following = words[place + 1] if place + 1 < len(words) else ""
        thing, plural = _singular(word, kinds)
        if thing not in kinds or _singular(following, kinds)[0] in kinds:  # in "dog bowl" the thing is the bowl
            continue
        before = words[max(0, place - 3) : place]
        number = next((_NUMBERS[other] for other in reversed(before) if other in _NUMBERS), 0)
        if plural or number == 1:
            caption.countable.add(thing)
        if number and (number > 1) == plural:
            if thing in caption.things:
                disputed.add(thing)
            caption.counts[thing] = number
        color = words[place - 1] if place and words[place - 1] in _COLORS else ""
        if color and not plural:
            mixed = place > 1 and (words[place - 2] == "and" or words[place - 2] in _COLORS)
            if mixed or caption.colors.get(thing, color) != color:
                disputed.add(thing)
            caption.colors[thing] = color
        caption.things.add(thing)
    for thing in disputed:
        caption.counts.pop(thing, None)
        caption.colors.pop(thing, None)
    return caption


def _singular(word: str, kinds: dict[str, str]) -> tuple[str, bool]:
    """A word as a thing in the singular, and whether the word was its plural."""
    if word in _IRREGULAR:
        return _IRREGULAR[word], True
    if word in kinds:
        return word, False
    for lemma in _lemmas(word):
        if lemma in kinds:
            return lemma, True
    return word, False


def _lemmas(word: str) -> Iterator[str]:
    if word.endswith("ies"):
        yield f"{word[:-3]}y"
    if re.search("(s|x|z|ch|sh|o)es$", word):
        yield word[:-2]
    if word.endswith("s") and not word.endswith("ss"):
        yield word[:-1]


def _plural(thing: str) -> str:
    if thing in _PLURALS:
        return _PLURALS[thing]
    if re.search("[^aeiou]y$", thing):
        return f"{thing[:-1]}ies"
    return f"{thing}es" if re.search("(s|x|z|ch|sh)$", thing) else f"{thing}s"


@functools.lru_cache(maxsize=2)
def _kinds_of_things(path: str) -> dict[str, str]:
    """Word -> kind of the nouns whose first sense is a thing that can be seen, and that are mostly nouns in texts."""
    uses: dict[str, collections.Counter[bool]] = collections.defaultdict(collections.Counter)
    kinds: dict[str, str] = {}
    with open(path, encoding="utf-8") as lines:
        for line in lines:
            key, _, sense_number, tag_count = line.split()
            lemma, _, rest = key.partition("%")
            is_noun = rest[0] == "1"
            uses[lemma][is_noun] += int(tag_count)
            if is_noun and sense_number == "1" and rest[2:4] in _VISIBLE:
                kinds[lemma] = _VISIBLE[rest[2:4]]
    return {
        lemma: kind
        for lemma, kind in kinds.items()
        if lemma.isascii() and lemma.isalpha() and len(lemma) > 2 and lemma not in _NOT_A_THING | _COLORS
        if uses[lemma][True] >= uses[lemma][False]
        if not re.search("[^suai]s$", lemma)  # "shorts" have no singular
    }
