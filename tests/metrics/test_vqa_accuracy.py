"""VQA accuracy against cases worked by hand from its definition."""

from itertools import combinations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vl_keras.metrics.vqa_accuracy import normalise_answer, soft_target, vqa_accuracy

# Every word that the rules know, and marks and spaces around them.
_PIECES = st.sampled_from(
    [*".,;:'!?-/()[]{}@_+=<>\"\\` \n\t059aA", " the ", "An ", "two ", "none", "dont", "y'allll", "it"]
)
_ANSWERS = st.lists(_PIECES, max_size=8).map("".join)


@pytest.mark.parametrize(
    "answer, normalised",
    [
        ("Yes", "yes"),  # lower case
        ("  a dog\n", "dog"),  # articles
        ("The man AND an apple", "man and apple"),
        ("a", ""),
        ("two", "2"),  # number words, as whole words, up to ten
        ("none", "0"),
        ("ten people", "10 people"),
        ("eleven", "eleven"),
        ("someone", "someone"),
        ("dont know", "don't know"),  # missing apostrophes
        ("Dont", "don't"),
        ("couldnt've", "couldn't've"),
        ("couldn'tve", "couldn't've"),
        ("oclock", "o'clock"),
        ("ill", "ill"),  # a word of its own
        ("girl's", "girl's"),  # apostrophes and colons stay
        ("2:50 pm", "2:50 pm"),
        ("t-shirt", "t shirt"),  # a mark becomes a space
        ("black/white", "black white"),
        ("yes!", "yes"),
        ("red, white", "red white"),  # next to a space it goes without one
        ("red ,white", "red white"),
        ("red,white", "red white"),
        ("a,b, c", "ab c"),  # ... everywhere in the answer
        ("100,978", "100978"),  # between digits a comma goes without a space
        ("1,000-2,000", "10002000"),  # ... and so do all marks
        ("U.S.A.", "usa"),  # periods go, but for decimals
        ("1.5", "1.5"),
        ("$.50", "$.50"),
        ("5.", "5"),
        ("p.m. 3.", "pm 3"),
        ("(what?)", "what"),
        ("", ""),
    ],
)
def test_normalised_as_the_definition_says(answer, normalised):
    assert normalise_answer(answer) == normalised


@given(_ANSWERS)
@settings(max_examples=500, deadline=None)
def test_normalising_twice_is_normalising_once(answer):
    once = normalise_answer(answer)
    assert normalise_answer(once) == once


# With m of ten annotators agreeing, m sets miss one of them and 10 - m none:
# (m * min((m - 1) / 3, 1) + (10 - m) * min(m / 3, 1)) / 10.
@pytest.mark.parametrize("matches, accuracy", enumerate([0, 0.3, 0.6, 0.9, 1, 1, 1, 1, 1, 1, 1]))
def test_ten_annotators(matches, accuracy):
    given = ["yes"] * matches + [f"other {n}" for n in range(10 - matches)]
    assert vqa_accuracy("yes", given) == pytest.approx(accuracy)
    assert vqa_accuracy("never", given) == 0


def test_all_annotators_together_are_the_mean_over_the_sets_of_nine():
    given = ["red"] * 2 + ["blue"] * 3 + ["Blue."] + ["the red"] + ["green"] * 3
    plain = [normalise_answer(answer) for answer in given]
    for answer in ("red", "blue", "green", "yellow"):
        sets = [min(nine.count(answer) / 3, 1) for nine in combinations(plain, 9)]
        assert vqa_accuracy(answer, given) == pytest.approx(sum(sets) / 10)


def test_answers_are_normalised_where_annotators_differ():
    given = ["2 dogs"] * 4 + ["Two dogs."] * 2 + ["one"] * 4
    assert vqa_accuracy("The two dogs!", given) == 1
    assert vqa_accuracy("1", given) == 1
    assert soft_target(given) == {"2 dogs": 1, "1": 1}


def test_answers_are_left_alone_where_annotators_agree():
    """What is written in an image should be read as it is written."""
    given = ["The End"] * 10
    assert vqa_accuracy("The End", given) == vqa_accuracy(" The End\n", given) == 1
    assert vqa_accuracy("end", given) == vqa_accuracy("the end", given) == 0
    assert soft_target(given) == {"The End": 1}


def test_fewer_annotators():
    assert vqa_accuracy("yes", ["yes"]) == 1 and vqa_accuracy("Yes", ["yes"]) == 0
    assert soft_target(["yes"]) == {"yes": 1}
    # Two: the one that is left must agree. Three: both that are left.
    assert vqa_accuracy("yes", ["yes", "no"]) == pytest.approx(1 / 2)
    assert vqa_accuracy("yes", ["yes", "yes"]) == 1
    assert vqa_accuracy("yes", ["yes", "yes", "no"]) == pytest.approx((2 * 1 / 2 + 1) / 3)
    assert vqa_accuracy("yes", ["yes"] * 3) == vqa_accuracy("yes", ["yes"] * 4) == 1
    # Five, of whom two agree: (2 * 1/3 + 3 * 2/3) / 5.
    assert vqa_accuracy("yes", ["yes", "yes", "no", "maybe", "2"]) == pytest.approx(8 / 15)
    with pytest.raises(ValueError, match="at least one annotator"):
        vqa_accuracy("yes", [])
    assert soft_target([]) == {}


def test_soft_targets_by_hand():
    given = ["yes"] * 6 + ["Yes."] + ["no", "No"] + ["a"]
    assert soft_target(given) == pytest.approx({"yes": 1, "no": 0.6})  # of "a" nothing is left


@given(st.lists(_ANSWERS, min_size=1, max_size=10))
@settings(max_examples=300, deadline=None)
def test_a_soft_target_is_the_accuracy_of_its_answer(annotators):
    target = soft_target(annotators)
    for answer in {*annotators, *target, "yes"}:
        score = vqa_accuracy(answer, annotators)
        assert 0 <= score <= 1
        if answer in target:
            assert target[answer] == score
    assert all(target.values()) or len(annotators) > 1
