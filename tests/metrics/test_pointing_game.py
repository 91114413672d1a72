"""The pointing game's arithmetic."""

import numpy as np
import pytest

from vl_keras.metrics.pointing_game import boxes_of_word, covered_area, peak, pointing_game, points_at

OBJECTS = [
    {"label": "small red circle", "bbox": (0.1, 0.1, 0.3, 0.3)},
    {"label": "large blue circle", "bbox": (0.5, 0.5, 0.9, 0.9)},
    {"label": "large red cross", "bbox": (0.0, 0.6, 0.2, 0.8)},
]


@pytest.mark.parametrize("row, column", [(0, 0), (2, 4), (1, 3)])
def test_the_peak_is_the_centre_of_the_largest_cell(row, column):
    weights = np.full((3, 5), 0.1)
    weights[row, column] = 0.7
    y, x = peak(weights)
    assert (y, x) == ((row + 0.5) / 3, (column + 0.5) / 5)
    assert points_at((y, x), [(row / 3, column / 5, (row + 1) / 3, (column + 1) / 5)])
    assert not points_at((y, x), [])


def test_the_area_of_boxes_together_equals_a_count_of_points():
    rng = np.random.default_rng(0)
    points = (np.stack(np.meshgrid(np.arange(400), np.arange(400), indexing="ij"), -1).reshape(-1, 2) + 0.5) / 400
    for count in (1, 2, 5):
        corners = np.sort(rng.random((count, 2, 2)), axis=1)
        boxes = [(low[0], low[1], high[0], high[1]) for low, high in corners]
        inside = np.zeros(len(points), bool)
        for y0, x0, y1, x1 in boxes:
            inside |= ((points >= (y0, x0)) & (points <= (y1, x1))).all(axis=1)
        assert covered_area(boxes) == pytest.approx(inside.mean(), abs=0.01)
    assert covered_area([]) == 0.0


@pytest.mark.parametrize(
    "caption, word, named",
    [
        ("a circle above a cross", "circle", [0, 1]),
        ("a small red circle", "circle", [0]),
        ("a red circle", "circle", [0]),
        ("a blue cross", "cross", []),
        ("two circles", "circles", [0, 1]),
        ("two large crosses", "crosses", [2]),
        ("A Large Blue Circle.", "Circle.", [1]),
        ("a red circle", "red", []),
        ("a star", "star", []),
    ],
)
def test_a_word_names_the_objects_that_agree_with_it(caption, word, named):
    words = caption.split()
    assert boxes_of_word(words, words.index(word), OBJECTS) == [OBJECTS[i]["bbox"] for i in named]


def test_pointing_right_hits_always_and_pointing_blindly_as_often_as_the_area_says():
    rng = np.random.default_rng(1)
    boxes = [[(0.2, 0.1, 0.6, 0.7)], [(0.0, 0.0, 0.5, 0.3), (0.5, 0.3, 1.0, 0.6)]]
    right = np.zeros((10, 10))
    right[4, 2] = 1.0
    game = pointing_game([(right, boxes[0])] * 3)
    assert game == {"words": 3, "hits": 1.0, "area": pytest.approx(0.24), "ratio": pytest.approx(1 / 0.24)}
    blind = pointing_game((rng.random((10, 10)), boxes[i % 2]) for i in range(4000))
    assert blind["words"] == 4000
    assert blind["ratio"] == pytest.approx(1.0, abs=0.1)


def test_no_word_for_an_object_is_no_game():
    assert pointing_game([]) == {"words": 0, "hits": 0.0, "area": 0.0, "ratio": 0.0}
