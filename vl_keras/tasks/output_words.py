"""What the outputs of serving signatures are, in words, for pages that people read."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

PROBABILITY, LOG_PROBABILITY, COSINE = "probability", "log-probability", "cosine"
_CAPTION_SCORE = ("length-normalised log-probability of the caption; closer to 0 is more certain", LOG_PROBABILITY)
_ANSWER_SCORE = ("probability of the answer", PROBABILITY)
# Name of an output, or (the output that it scores, its own name) -> what it is, and what kind of number.
_WORDS: Mapping[str | tuple[str, str], tuple[str, str]] = {
    "caption": ("caption", ""),
    "captions": ("captions, the best first", ""),
    "answer": ("answer", ""),
    "answers": ("answers, the most probable first", ""),
    "tokens": ("words", ""),
    "attention": ("attention weights", ""),
    "embedding": ("vector", ""),
    "probability": ("probability that image and text match", PROBABILITY),
    "similarity": ("cosine similarity of image and text, from -1 to 1", COSINE),
    ("caption", "score"): _CAPTION_SCORE,
    ("captions", "scores"): _CAPTION_SCORE,
    ("answer", "score"): _ANSWER_SCORE,
    ("answers", "scores"): _ANSWER_SCORE,
}
_SCORE_OF_TEXTS = "scores"


class Candidate(NamedTuple):
    """One of several texts.

    Attributes:
        text: the text.
        number: its score, formatted.
        share: 0 to 1, for a bar; None if the score has no such meaning.
    """

    text: str
    number: str
    share: float | None


class Shown(NamedTuple):
    """One output as a page shows it: a value, or candidates.

    Attributes:
        words: what it is.
        value: as text; empty if there are candidates.
        candidates: texts with their scores, the best first.
        score_words: what the scores of the candidates are.
    """

    words: str
    value: str = ""
    candidates: Sequence[Candidate] = ()
    score_words: str = ""


def output_words(name: str, outputs: Sequence[str]) -> tuple[str, str]:
    """What an output is, in words, and the kind of number: `PROBABILITY`, `LOG_PROBABILITY`, `COSINE` or empty.

    Args:
        name: of the output.
        outputs: names of all outputs of the signature: a score is told by what it scores.
    """
    scored = next((_WORDS[other, name] for other in outputs if (other, name) in _WORDS), None)
    return scored or _WORDS.get(name, (name.replace("_", " "), ""))


def show_outputs(outputs: Mapping[str, Any]) -> list[Shown]:
    """The outputs of one row as a page shows them, texts first.

    A text and its score that are also the first of several are shown once.

    Args:
        outputs: dict of name -> str, number, or (nested) list or array of them; `status` is left out.
    """
    rows = {name: _plain(value) for name, value in outputs.items() if name != "status"}
    lists = {name for name, value in rows.items() if isinstance(value, list)}
    scores = {
        name: other
        for name in lists
        for other in lists
        if (name, other) in _WORDS and len(rows[name]) == len(rows[other])
    }
    first = {name.removesuffix("s"): rows[name][0] for name in (*scores, *scores.values()) if rows[name]}
    repeated = {name for name, value in first.items() if name in rows and _same(rows[name], value)}
    if any(name.removesuffix("s") in rows and name.removesuffix("s") not in repeated for name in scores):
        repeated = set()  # the first candidate is not the answer, e.g. because it is withheld
    shown = []
    for name, value in sorted(rows.items(), key=lambda row: not _is_text(row[1])):
        if name in repeated or name in scores.values():
            continue
        words, kind = output_words(name, list(rows))
        if name in scores:
            score_words, kind = output_words(scores[name], list(rows))
            shown.append(Shown(words, "", _candidates(value, rows[scores[name]], kind), score_words))
        else:
            shown.append(Shown(words, _format(value, kind)))
    return shown


def _candidates(texts: Sequence[str], scores: Sequence[float], kind: str) -> list[Candidate]:
    shares: list[float | None] = [None] * len(scores)
    if kind == PROBABILITY:
        shares = [min(max(score, 0.0), 1.0) for score in scores]
    elif kind == LOG_PROBABILITY and len(scores) > 1:
        weights = [math.exp(score - max(scores)) for score in scores]
        shares = [weight / sum(weights) for weight in weights]
    return [
        Candidate(text or "(no words)", _format(score, kind), share)
        for text, score, share in zip(texts, scores, shares, strict=True)
    ]


def _format(value: Any, kind: str) -> str:
    if isinstance(value, str):
        return value or "(none)"
    if isinstance(value, list):
        if value and all(isinstance(item, str) for item in value):
            return " ".join(item for item in value if item) or "(none)"
        shape = np.shape(value)
        length = f", of length {np.linalg.norm(value):.3f}" if len(shape) == 1 and value else ""
        return f"{' x '.join(map(str, shape))} numbers{length}"
    return f"{100 * value:.1f} %" if kind == PROBABILITY else f"{value:.3f}" if isinstance(value, float) else str(value)


def _is_text(value: Any) -> bool:
    return isinstance(value, str) or (isinstance(value, list) and bool(value) and isinstance(value[0], str))


def _same(one: Any, other: Any) -> bool:
    if isinstance(one, float) and isinstance(other, float):
        return math.isclose(one, other, rel_tol=1e-4, abs_tol=1e-4)  # of two graphs
    return bool(one == other)


def _plain(value: Any) -> Any:
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    if isinstance(value, np.ndarray):
        return [_plain(item) for item in value] if value.dtype == object else value.tolist()
    return value.item() if isinstance(value, np.generic) else list(value) if isinstance(value, tuple) else value
