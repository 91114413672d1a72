"""Reads the rows of responses."""

from collections.abc import Callable
from typing import Any

import numpy as np

from export.client.call import BAD_RESPONSE
from export.client.call_error import CallError
from export.client.results import OK, Answer, Candidates, Caption, Embedding, Explanation, Match

Row = dict[str, Any]  # output name -> one row of that output; always with `status`


def read_row(read: Callable[[Row], Any], row: Row) -> Any:
    try:
        return read(row)
    except BAD_RESPONSE as error:
        raise not_a_model(f"{type(error).__name__}: {error}") from error


def not_a_model(why: str) -> CallError:
    return CallError("INTERNAL", f"the response is not that of a model of this package: {why}")


def caption(row: Row) -> Caption:
    if row["status"] != OK:
        return Caption(row["status"])
    return Caption(OK, _text(row["caption"]), float(np.float32(row["score"])))


def candidates(row: Row) -> Candidates:
    if row["status"] != OK:
        return Candidates(row["status"])
    return Candidates(OK, tuple(map(_text, row["captions"])), tuple(np.asarray(row["scores"], np.float32).tolist()))


def explanation(row: Row) -> Explanation:
    if row["status"] != OK:
        return Explanation(row["status"])
    words = [_text(word) for word in row["tokens"]]
    while words and not words[-1]:  # rows are padded to the maximum length of a caption
        words.pop()
    attention = np.asarray(row["attention"], np.float32)[: len(words)]
    return Explanation(OK, _text(row["caption"]), float(np.float32(row["score"])), tuple(words), attention)


def answer(row: Row) -> Answer:
    if row["status"] != OK:
        return Answer(row["status"])
    scores = tuple(np.asarray(row["scores"], np.float32).tolist())
    score = float(np.float32(row["score"]))
    return Answer(OK, _text(row["answer"]), score, tuple(map(_text, row["answers"])), scores)


def match(row: Row) -> Match:
    if row["status"] != OK:
        return Match(row["status"])
    return Match(OK, float(np.float32(row["probability"])))


def embedding(row: Row) -> Embedding:
    if row["status"] != OK:
        return Embedding(row["status"])
    return Embedding(OK, np.asarray(row["embedding"], np.float32))


def _text(data: bytes) -> str:
    return data.decode("utf-8", "replace")
