"""The pointing game: does a map point at the object that a word names (Zhang et al., 2016, section 4.1)?"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

Box = Sequence[float]  # ymin, xmin, ymax, xmax, as shares of the image


def peak(weights: np.ndarray) -> tuple[float, float]:
    """Centre of the largest cell of a `(rows, columns)` map: (y, x), as shares of height and width."""
    rows, columns = weights.shape
    row, column = np.unravel_index(np.argmax(weights), weights.shape)
    return (row + 0.5) / rows, (column + 0.5) / columns


def points_at(point: tuple[float, float], boxes: Iterable[Box]) -> bool:
    """Whether the point (y, x) is in any of the boxes (ymin, xmin, ymax, xmax), all as shares of the image."""
    y, x = point
    return any(y0 <= y <= y1 and x0 <= x <= x1 for y0, x0, y1, x1 in boxes)


def covered_area(boxes: Sequence[Box]) -> float:
    """Share of the image that the boxes (ymin, xmin, ymax, xmax) cover together: a random point's chance to hit one."""
    ys = np.unique([edge for box in boxes for edge in (box[0], box[2])])
    xs = np.unique([edge for box in boxes for edge in (box[1], box[3])])
    covered = np.zeros((max(len(ys) - 1, 0), max(len(xs) - 1, 0)), bool)
    for y0, x0, y1, x1 in boxes:
        covered |= ((ys[:-1] >= y0) & (ys[1:] <= y1))[:, None] & ((xs[:-1] >= x0) & (xs[1:] <= x1))
    return float(np.sum(covered * np.diff(ys)[:, None] * np.diff(xs)))


def boxes_of_word(words: Sequence[str], place: int, objects: Sequence[Mapping[str, Any]]) -> list[Box]:
    """Boxes of the objects that a caption's word may refer to.

    An object's label ends in its noun. The word refers to the object if it is that noun, singular or plural, and if the
    label has all the adjectives directly before the word: "circle" in "a small red circle" refers to every circle that
    is red and small, but not to a blue one. Adjectives are words that some label in the image has before its noun.

    Args:
        words: the caption's words.
        place: index of the word.
        objects: dicts with `label`, e.g. "small red circle", and `bbox` (ymin, xmin, ymax, xmax).

    Returns:
        List of boxes; empty if the word refers to nothing in the image.
    """
    words = [word.lower().strip(".,;:!?") for word in words]
    labels = [item["label"].lower().split() for item in objects]
    nouns = {words[place], words[place].removesuffix("s"), words[place].removesuffix("es")}
    known = {word for label in labels for word in label[:-1]}
    adjectives: set[str] = set()
    for word in reversed(words[:place]):
        if word not in known:
            break
        adjectives.add(word)
    return [
        item["bbox"]
        for label, item in zip(labels, objects, strict=True)
        if label and label[-1] in nouns and adjectives <= set(label[:-1])
    ]


def pointing_game(trials: Iterable[tuple[np.ndarray, Sequence[Box]]]) -> dict[str, Any]:
    """Scores maps of words that refer to an object.

    Args:
        trials: pairs of a map `(rows, columns)` and the boxes of all objects that the word may refer to.

    Returns:
        Dict: `words`, the number of trials; `hits`, the share of maps whose peak is in a box; `area`, the mean share of
        the image that the boxes cover, which is the expected `hits` of random points; `ratio` of `hits` to `area`.
    """
    trials = list(trials)
    if not trials:
        return {"words": 0, "hits": 0.0, "area": 0.0, "ratio": 0.0}
    hits = float(np.mean([points_at(peak(weights), boxes) for weights, boxes in trials]))
    area = float(np.mean([covered_area(boxes) for _, boxes in trials]))
    return {"words": len(trials), "hits": hits, "area": area, "ratio": hits / area}
