"""The accuracy of VQA (Antol et al., ICCV 2015, section 3) and its normalisation of answers (visualqa.org/evaluation).

The definition says what is normalised; where it leaves the manner open, this does what the official evaluation of VQA
v2 does, so that figures can be compared:

- Answers are normalised only where the annotators' answers differ. Where all are equal, as with a single annotator,
  an answer is right when it is the same string, white space at its ends aside.
- A mark of punctuation becomes a space; it goes without one where it stands next to a space anywhere in the answer, or
  where the answer has a comma between digits. Apostrophes and colons stay.
- A period goes unless a digit follows it.
- Numbers are words up to ten, and "none" is 0.
"""

import re

_PUNCTUATION = ';/[]"{}()=+\\_-><@`,?!'
_COMMA_IN_NUMBER = re.compile(r"\d,\d")
_PERIOD = re.compile(r"\.(?!\d)")
_ARTICLES = {"a", "an", "the"}
_NUMBERS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
_DIGITS = {word: str(number) for number, word in enumerate(_NUMBERS)} | {"none": "0"}

# Contractions that get a missing apostrophe back; not those that read as another word without it, such as we'd.
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
} | {"somebody'd": "somebodyd"}  # the other way round, as the official evaluation has it


def normalise_answer(answer):
    """The form in which answers are compared where annotators differ: lower case, without articles and punctuation,
    numbers up to ten in digits, contractions with their apostrophe."""
    text = _one_line(answer)
    in_number = _COMMA_IN_NUMBER.search(text)
    plain = text
    for mark in _PUNCTUATION:
        glued = not in_number and f"{mark} " not in text and f" {mark}" not in text
        plain = plain.replace(mark, " " if glued else "")
    words = (_DIGITS.get(word, word) for word in _PERIOD.sub("", plain).lower().split())
    return " ".join(_APOSTROPHES.get(word, word) for word in words if word not in _ARTICLES)


def vqa_accuracy(answer, annotators):
    """Share of an answer's agreement with the annotators, 0 to 1.

    The mean of min(matches / 3, 1) over the sets that leave out one annotator each. With fewer than four annotators,
    for whom the measure is not defined, all that are left must agree instead of three; with one, it is equality.

    Args:
        answer: the answer to judge.
        annotators: list of the annotators' answers.

    Raises:
        ValueError: there is no annotator.
    """
    if not annotators:
        raise ValueError("An answer needs at least one annotator's answer to be judged by; got none.")
    truths, normalise = _comparable(annotators)
    return _agreement(truths.count(normalise(answer)), len(truths))


def soft_target(annotators):
    """Dict from each answer that an annotator gave, as it is compared, to its `vqa_accuracy`: a target for training.

    Empty without annotators. An answer of which normalising leaves nothing (such as "the") is no target.
    """
    truths, _ = _comparable(annotators)
    return {truth: _agreement(truths.count(truth), len(truths)) for truth in dict.fromkeys(truths) if truth}


def _comparable(annotators):
    """The annotators' answers as they are compared, and the function that does the same to another answer."""
    plain = [_one_line(answer) for answer in annotators]
    normalise = normalise_answer if len(set(plain)) > 1 else _one_line
    return [normalise(answer) for answer in plain], normalise


def _agreement(matches, count):
    if count == 1:
        return float(matches)
    wanted = min(3, count - 1)
    with_one_less, with_all = min((matches - 1) / wanted, 1), min(matches / wanted, 1)
    return (matches * with_one_less + (count - matches) * with_all) / count


def _one_line(answer):
    return answer.replace("\n", " ").replace("\t", " ").strip()
