"""Question answering as classification: training targets, and the scoring of a split."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import tensorflow as tf

from vl_keras.data.builders.annotators import annotators
from vl_keras.data.caption_words import swap_sides
from vl_keras.metrics.calibration import fit_temperature
from vl_keras.metrics.vqa_accuracy import soft_target, vqa_accuracy
from vl_keras.tasks.pairing.answers import Answer, answer_metrics, asked_questions

if TYPE_CHECKING:
    from vl_keras.data.batch_rows import BatchRows
    from vl_keras.tasks.vqa import VqaTask

_MOST_ANNOTATED = 10  # most different answers of one question that training uses


def answer_labels(task: VqaTask, rows: BatchRows) -> Callable:
    """The function that maps question numbers to soft targets `(…, A)`, and to whether they have one, in graph."""
    known = {answer: number for number, answer in enumerate(task.answers)}
    questions = [question for row in task.source(task.config.data.train_split).questions for question in row]
    places = np.zeros((len(rows.texts), _MOST_ANNOTATED), np.int32)
    scores = np.zeros((len(rows.texts), _MOST_ANNOTATED), np.float32)
    for number in range(len(rows.texts)):
        mirrored, question = divmod(number, len(questions))
        target = soft_target(annotators(questions[question]["answer"]))
        pairs = [(swap_sides(answer) if mirrored else answer, score) for answer, score in target.items()]
        candidates = [(known[answer], score) for answer, score in pairs if answer in known][:_MOST_ANNOTATED]
        total = sum(score for _, score in candidates)
        for place, (candidate, score) in enumerate(candidates):
            places[number, place], scores[number, place] = candidate, score / total

    def look_up(number: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        there = number >= 0
        return places[number], np.where(there[..., None], scores[number], 0).astype(np.float32)

    def label(number: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        candidate, score = tf.numpy_function(look_up, [number], [tf.int32, tf.float32])
        candidate.set_shape((*number.shape, _MOST_ANNOTATED))
        score.set_shape((*number.shape, _MOST_ANNOTATED))
        target = tf.reduce_sum(tf.one_hot(candidate, len(known)) * score[..., None], axis=-2)
        return target, tf.reduce_sum(score, axis=-1) > 0

    return label


def score_answers(
    task: VqaTask,
    model: Any,
    split: str,
    limit: int = 0,
    progress: Callable[[int], None] | None = None,
    fit: bool = False,
) -> tuple[dict[str, float], list[Answer]]:
    """Answers every question of a split and scores the answers; see `VqaTask.score_split`."""
    source = task.source(split)
    rows = asked_questions(source, limit)
    owners = [index for index, _, _ in rows]
    logits = task.pair_logits(model, split, owners, [question["question"] for _, question, _ in rows], progress)
    readable = ~np.isnan(logits[:, 0])
    if not readable.all():  # copied only if needed: the logits of VQA v2's development split take gigabytes
        rows, logits = [row for row, good in zip(rows, readable, strict=True) if good], logits[readable]
    known = {answer: number for number, answer in enumerate(task.answers)}
    targets = [soft_target(truth) for _, _, truth in rows]
    labels = np.array(
        [known.get(max(target, key=target.__getitem__), -1) if target else -1 for target in targets], np.int64
    )
    known_rows = labels >= 0
    if fit and known_rows.any():
        task.temperature = fit_temperature(logits if known_rows.all() else logits[known_rows], labels[known_rows])
    answers = []
    for (index, question, truth), target, scores in zip(rows, targets, logits, strict=True):
        confidence = _softmax(scores / task.temperature)
        best = int(np.argmax(confidence))
        answer = task.answers[best]
        answers.append(
            Answer(
                index, source.image_ids[index], question["question"], question["kind"].split("\n"), answer,
                float(confidence[best]), truth, vqa_accuracy(answer, truth), any(a in known for a in target),
            )
        )  # fmt: skip
    metrics = answer_metrics(answers, task.settings.target_accuracy if fit else 0)
    if fit:
        metrics["temperature"] = task.temperature
        task.threshold = metrics.get("threshold", task.threshold)
    return metrics, answers


def _softmax(logits: np.ndarray) -> np.ndarray:
    weights = np.exp(logits - logits.max())
    return weights / weights.sum()
