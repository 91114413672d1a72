"""Answers to questions about images, however they are found: what is asked, and how well it was answered."""

import collections
from typing import NamedTuple

import numpy as np

from vl_keras.data.builders.annotators import annotators
from vl_keras.errors import DataError
from vl_keras.metrics.calibration import abstention_threshold, expected_calibration_error
from vl_keras.metrics.vqa_accuracy import soft_target
from vl_keras.tasks.described import dataset_name, describe_data


class Answer(NamedTuple):
    """What was answered to one question.

    Attributes:
        index: of the image in the source.
        image_id: its name.
        question: as asked.
        kinds: list of the question's, the broadest first, e.g. yes_no alone.
        answer: the most probable one.
        confidence: its probability.
        truth: list of the annotators' answers.
        accuracy: `vqa_accuracy` of the answer, 0 to 1; with one annotator 1 or 0.
        answerable: whether some candidate is right, fully or in part; None where there are no candidates.
    """

    index: int
    image_id: str
    question: str
    kinds: list
    answer: str
    confidence: float
    truth: list
    accuracy: float
    answerable: bool | None = None


def asked_questions(source, limit=0):
    """List of (image's index, question, the annotators' answers): every question of a `Source` that has an answer.

    Args:
        source: a `Source`; a question is a dict as in its `questions`.
        limit: only those of the first so many images; 0: all.
    """
    return [
        (index, question, annotators(question["answer"]))
        for index, questions in enumerate(source.questions[: limit or None])
        for question in questions
        if question["answer"]
    ]


def answer_metrics(answers, target_accuracy=0.0):
    """Measures of a list of `Answer`.

    Args:
        answers: list of `Answer`.
        target_accuracy: above 0: also the lowest confidence from which answers reach it, `threshold`, and the share
            that does, `coverage`.

    Returns:
        Dict: `accuracy`; `accuracy KIND` of each broadest kind of question, where there are several;
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


def answers_of_kinds(answers, levels=None):
    """Dict from each kind of question to its rows in a list of `Answer`, `(n,)`; without a kind that all have.

    Args:
        answers: list of `Answer`.
        levels: how many of a question's kinds count, from the broadest on; None: all.
    """
    rows = collections.defaultdict(list)
    for row, answer in enumerate(answers):
        for level, kind in enumerate(answer.kinds[:levels]):
            rows[level, kind].append(row)
    kinds = {}
    for (_, kind), of in sorted(rows.items()):
        if kind and len(of) < len(answers):
            kinds.setdefault(kind, np.array(of))  # a name that is both broad and narrow is the broad one
    return kinds


def answers_signature(config, answers, split, weights, candidates):
    """Dict that says what measures of a list of `Answer` were taken with; `candidates`: what was chosen among."""
    counts = {len(answer.truth) for answer in answers} or {0}
    return {
        **describe_data(config.data, split),
        "images": len({answer.index for answer in answers}),
        "questions": len(answers),
        "annotators": str(min(counts)) if len(counts) == 1 else f"{min(counts)}-{max(counts)}",
        "candidates": candidates,
        "weights": weights,
    }


def training_answers(source):
    """For each question of a `Source`, its most agreed answer; an empty string where no answer counts."""
    answers = []
    for questions in source.questions:
        for question in questions:
            target = soft_target(annotators(question["answer"]))
            answers.append(max(target, key=target.get) if target else "")
    return answers


def check_training_answers(answers, data):
    """Raises `DataError` where a training split has nothing to learn answers from."""
    if not any(answers):
        raise DataError(f"Split `{data.train_split}` of {dataset_name(data)} has no questions with answers.")
