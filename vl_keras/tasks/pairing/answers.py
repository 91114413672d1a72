"""Questions of a split with their answers, and metrics of predicted answers, however they are found."""

from __future__ import annotations

import collections
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from vl_keras.data.builders.annotators import annotators
from vl_keras.errors import DataError
from vl_keras.metrics.calibration import abstention_threshold, expected_calibration_error
from vl_keras.metrics.vqa_accuracy import soft_target
from vl_keras.tasks.described import dataset_name, describe_data

if TYPE_CHECKING:
    from vl_keras.config import Config, DataConfig
    from vl_keras.data.source import Source


class Answer(NamedTuple):
    """The predicted answer to one question.

    Attributes:
        index: place of the image in the source.
        image_id: name of the image.
        question: the question.
        kinds: kinds of the question, the broadest first, e.g. only yes_no.
        answer: the most probable answer.
        confidence: the probability of the answer.
        truth: the annotators' answers.
        accuracy: `vqa_accuracy` of the answer, 0 to 1; with one annotator 1 or 0.
        answerable: whether some candidate is right, fully or in part; None if there are no candidates.
    """

    index: int
    image_id: str
    question: str
    kinds: list[str]
    answer: str
    confidence: float
    truth: list[str]
    accuracy: float
    answerable: bool | None = None


def asked_questions(source: Source, limit: int = 0) -> list[tuple[int, dict[str, str], list[str]]]:
    """Lists the questions of a source that have an answer.

    Args:
        source: of the split.
        limit: only the questions of the first so many images; 0: all.

    Returns:
        List of `(index of the image, question, the annotators' answers)`; the question is a dict of `source.questions`.
    """
    return [
        (index, question, annotators(question["answer"]))
        for index, questions in enumerate(source.questions[: limit or None])
        for question in questions
        if question["answer"]
    ]


def answer_metrics(answers: Sequence[Answer], target_accuracy: float = 0.0) -> dict[str, float]:
    """The metrics of a list of answers.

    Args:
        answers: predicted answers.
        target_accuracy: above 0: also return `threshold`, the lowest confidence from which on answers reach this
            accuracy, and `coverage`, the share of answers with at least that confidence.

    Returns:
        Dict: `accuracy`; `accuracy KIND` for each broadest kind of question, if there are several;
        `calibration_error` of the confidence (15 bins); `in_candidates`, the share of questions that some candidate
        answers fully or in part.
    """
    if not answers:
        return {"accuracy": 0.0}
    accuracy = np.array([answer.accuracy for answer in answers])
    confidence = np.array([answer.confidence for answer in answers])
    metrics = {"accuracy": float(accuracy.mean())}
    metrics |= {f"accuracy {kind}": float(accuracy[rows].mean()) for kind, rows in answers_of_kinds(answers, 1).items()}
    metrics["calibration_error"] = expected_calibration_error(confidence, accuracy)
    if answers[0].answerable is not None:
        metrics["in_candidates"] = float(np.mean([answer.answerable for answer in answers]))
    if target_accuracy:
        found = abstention_threshold(confidence, accuracy, target_accuracy)
        metrics |= {"threshold": found["threshold"], "coverage": found["coverage"]}
    return metrics


def answers_of_kinds(answers: Sequence[Answer], levels: int | None = None) -> dict[str, np.ndarray]:
    """Dict of each kind of question -> its rows in a list of answers, `(n,)`; without a kind that all questions have.

    Args:
        answers: predicted answers.
        levels: how many of a question's kinds count, from the broadest on; None: all.
    """
    rows: dict[tuple[int, str], list[int]] = collections.defaultdict(list)
    for row, answer in enumerate(answers):
        for level, kind in enumerate(answer.kinds[:levels]):
            rows[level, kind].append(row)
    kinds: dict[str, np.ndarray] = {}
    for (_, kind), of in sorted(rows.items()):
        if kind and len(of) < len(answers):
            kinds.setdefault(kind, np.array(of))  # if a broad and a narrow kind share a name, the broad one counts
    return kinds


def answers_signature(
    config: Config, answers: Sequence[Answer], split: str, weights: str, candidates: int | str
) -> dict[str, Any]:
    """The signature of metrics of answers.

    Args:
        config: of the run.
        answers: predicted answers.
        split: name.
        weights: which weights predicted them, in a word.
        candidates: how many answers the model chooses from, or a word.
    """
    counts = {len(answer.truth) for answer in answers} or {0}
    return {
        **describe_data(config.data, split),
        "images": len({answer.index for answer in answers}),
        "questions": len(answers),
        "annotators": str(min(counts)) if len(counts) == 1 else f"{min(counts)}-{max(counts)}",
        "candidates": candidates,
        "weights": weights,
    }


def training_answers(source: Source) -> list[str]:
    """For each question of a source, the answer that most annotators agree on; empty if no answer counts."""
    answers = []
    for questions in source.questions:
        for question in questions:
            target = soft_target(annotators(question["answer"]))
            answers.append(max(target, key=lambda answer: target[answer]) if target else "")
    return answers


def check_training_answers(answers: Sequence[str], data: DataConfig) -> None:
    """Raises `DataError` if a training split has no answers to learn from."""
    if not any(answers):
        raise DataError(f"Split `{data.train_split}` of {dataset_name(data)} has no questions with answers.")
