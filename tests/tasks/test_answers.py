"""Measures of answers, however they were found."""

import pytest

from vl_keras.tasks.pairing.answers import Answer, answer_metrics, answers_of_kinds


def answer(accuracy, *kinds):
    return Answer(0, "a", "what?", list(kinds), "yes", 0.5, ["yes"], accuracy)


def test_accuracy_of_a_kind_is_the_mean_over_its_questions():
    answers = [
        answer(1.0, "yes/no", "is the"),
        answer(0.3, "other", "what color"),
        answer(0.0, "yes/no", "is there"),
        answer(0.6, "other", "what color"),
        answer(0.9, "other", "is the"),
    ]
    metrics = answer_metrics(answers)
    assert metrics["accuracy"] == pytest.approx(0.56)
    assert metrics["accuracy yes/no"] == pytest.approx(0.5) and metrics["accuracy other"] == pytest.approx(0.6)
    assert "accuracy what color" not in metrics  # an epoch's measures are of the broadest kinds
    rows = answers_of_kinds(answers)
    assert {kind: list(of) for kind, of in rows.items()} == {
        "other": [1, 3, 4], "yes/no": [0, 2], "is the": [0, 4], "is there": [2], "what color": [1, 3],
    }  # fmt: skip
    assert list(rows)[:2] == ["other", "yes/no"]  # the broadest first


def test_a_name_that_is_broad_and_narrow_is_the_broad_one():
    answers = [answer(1.0, "other", "other"), answer(0.0, "other", "what"), answer(0.5, "yes/no", "is")]
    assert list(answers_of_kinds(answers)["other"]) == [0, 1]


def test_a_kind_that_all_questions_have_says_nothing():
    assert answers_of_kinds([answer(1.0, "color"), answer(0.0, "color")]) == {}
    assert answers_of_kinds([answer(1.0, ""), answer(0.0, "")]) == {}
    assert list(answers_of_kinds([answer(1.0, ""), answer(0.0, "color")])) == ["color"]
