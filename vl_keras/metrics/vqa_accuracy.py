"""The accuracy of VQA (Antol et al., ICCV 2015, section 3) and its normalisation of answers (visualqa.org/evaluation).

Where the definition leaves details open, we follow the official evaluation of VQA v2, so that scores can be compared:

- Answers are normalised only if the annotators' answers differ. If all are equal, as with a single annotator, an answer
  is right if it is the same string after white space at both ends is removed.
- A punctuation mark becomes a space. It is removed without a space if it is next to a space anywhere in the answer, or
  if the answer has a comma between digits. Apostrophes and colons stay.
- A period is removed unless a digit follows it.
- Number words up to ten become digits, and "none" becomes 0.
"""

import re
from collections.abc import Callable, Sequence

_PUNCTUATION = ';/[]"{}()=+\\_-><@`,?!'
_COMMA_IN_NUMBER = re.compile(r"\d,\d")
_PERIOD = re.compile(r"\.(?!\d)")
_ARTICLES = {"a", "an", "the"}
_NUMBERS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
_DIGITS = {word: str(number) for number, word in enumerate(_NUMBERS)} | {"none": "0"}

# Contractions whose missing apostrophe is restored; not those that are another word without it, such as we'd.
_CONTRACTIONS = """
    ain't aren't can't could've couldn't couldn't've didn't doesn't don't hadn't hadn't've hasn't haven't he'd he'd've
    he's how'd how'll how's isn't it'd it'd've it'll ma'am might've mightn't mightn't've must've mustn't needn't not've
    o'clock oughtn't 'ow's'at shan't she'd've should've shouldn't shouldn't've somebody'd've somebody'll somebody's
    someone'd someone'd've someone'll someone's something'd something'd've something'll that's there'd there'd've
    there're there's they'd they'd've they'll they're they've 'twas wasn't we'd've we've weren't what'll what're what's
    what've when's where'd where's where've who'd who'd've who'll who's who've why'll why're why's won't would've
    wouldn't wouldn't've y'all y'all'll y'all'd've you'd you'd've you'll you're you've
""".split()
_APOSTROPHES = {
    word[:place] + word[place + 1 :]: word
    for word in _CONTRACTIONS
    for place, letter in enumerate(word)
    if letter == "'"
} | {"somebody'd": "somebodyd"}  # the official evaluation has this one the other way round


def normalise_answer(answer: str) -> str:
    """The form in which answers are compared if annotators differ.

    Lower case, without articles and punctuation, number words up to ten as digits, contractions with their apostrophe.
    """
    text = _one_line(answer)
    in_number = _COMMA_IN_NUMBER.search(text)
    plain = text
    for mark in _PUNCTUATION:
        glued = not in_number and f"{mark} " not in text and f" {mark}" not in text
        plain = plain.replace(mark, " " if glued else "")
    words = (_DIGITS.get(word, word) for word in _PERIOD.sub("", plain).lower().split())
    return " ".join(_APOSTROPHES.get(word, word) for word in words if word not in _ARTICLES)


def vqa_accuracy(answer: str, annotators: Sequence[str]) -> float:
    """Agreement of an answer with the annotators, 0 to 1.

    The mean of min(matches / 3, 1) over the sets that leave out one annotator each. The metric is not defined for fewer
    than four annotators: then all the remaining ones must agree instead of three. With one annotator it is equality.

    Args:
        answer: the answer to score.
        annotators: the annotators' answers.

    Raises:
        ValueError: there is no annotator.
    """
    if not annotators:
        raise ValueError("`vqa_accuracy` needs at least one annotator's answer; got none.")
    truths, normalise = _comparable(annotators)
    return _agreement(truths.count(normalise(answer)), len(truths))


def soft_target(annotators: Sequence[str]) -> dict[str, float]:
    """Training target: each annotator's answer, in the form in which it is compared, with its `vqa_accuracy`.

    Empty without annotators. An answer of which normalisation leaves nothing, such as "the", is left out.
    """
    truths, _ = _comparable(annotators)
    return {truth: _agreement(truths.count(truth), len(truths)) for truth in dict.fromkeys(truths) if truth}


def _comparable(annotators: Sequence[str]) -> tuple[list[str], Callable[[str], str]]:
    """The annotators' answers in the form in which they are compared, and the function that normalises another one."""
    plain = [_one_line(answer) for answer in annotators]
    normalise = normalise_answer if len(set(plain)) > 1 else _one_line
    return [normalise(answer) for answer in plain], normalise


def _agreement(matches: int, count: int) -> float:
    if count == 1:
        return float(matches)
    wanted = min(3, count - 1)
    with_one_less, with_all = min((matches - 1) / wanted, 1), min(matches / wanted, 1)
    return (matches * with_one_less + (count - matches) * with_all) / count


def _one_line(answer: str) -> str:
    return answer.replace("\n", " ").replace("\t", " ").strip()
