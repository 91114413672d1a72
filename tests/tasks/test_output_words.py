"""Outputs in words: scores are called what they are, and nothing is shown twice."""

import numpy as np
import pytest

from vl_keras.tasks.output_words import COSINE, LOG_PROBABILITY, PROBABILITY, output_words, show_outputs


@pytest.mark.parametrize(
    "name, outputs, words, kind",
    [
        ("score", ("caption", "score"), "log-probability of the caption", LOG_PROBABILITY),
        ("scores", ("captions", "scores"), "log-probability of the caption", LOG_PROBABILITY),
        ("score", ("answer", "score"), "probability of the answer", PROBABILITY),
        ("probability", ("probability",), "probability that image and text match", PROBABILITY),
        ("similarity", ("similarity",), "cosine similarity", COSINE),
        ("heat_map", ("heat_map",), "heat map", ""),  # what the table does not know keeps its name
    ],
)
def test_a_score_is_called_after_what_it_scores(name, outputs, words, kind):
    found, found_kind = output_words(name, outputs)
    assert words in found and found_kind == kind


def test_the_best_of_several_texts_is_shown_once_and_bars_add_up():
    outputs = {"caption": "a dog", "score": -1.0, "captions": ["a dog", "a cat"], "scores": [-1.0, -1.0]}
    (shown,) = show_outputs(outputs)
    assert [candidate.text for candidate in shown.candidates] == ["a dog", "a cat"]
    assert [candidate.share for candidate in shown.candidates] == [0.5, 0.5]
    assert "log-probability" in shown.score_words and shown.candidates[0].number == "-1.000"


def test_a_withheld_answer_is_shown_beside_the_candidates():
    outputs = {"question": "what?", "answer": "", "score": 0.25, "answers": ["red", "blue"], "scores": [0.25, 0.125]}
    shown = {each.words: each for each in show_outputs(outputs)}
    assert shown["answer"].value == "(none)" and shown["question"].value == "what?"
    assert shown["probability of the answer"].value == "25.0 %"
    candidates = shown["answers, the most probable first"].candidates
    assert [(each.text, each.number, each.share) for each in candidates] == [
        ("red", "25.0 %", 0.25),
        ("blue", "12.5 %", 0.125),
    ]


def test_arrays_of_bytes_and_numbers_as_a_server_returns_them():
    outputs = {
        "tokens": np.array([b"a", "größe".encode(), b""], object),
        "attention": np.zeros((3, 2, 4), np.float32),
        "embedding": np.array([3.0, 4.0], np.float32),
        "count": np.int64(7),
        "status": "ok",
    }
    shown = {each.words: each.value for each in show_outputs(outputs)}
    assert shown == {
        "words": "a größe",
        "attention weights": "3 x 2 x 4 numbers",
        "vector": "2 numbers, of length 5.000",
        "count": "7",
    }
