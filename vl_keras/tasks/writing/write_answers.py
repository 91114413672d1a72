"""Question answering by a decoder: training targets, and the scoring of a split."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np
import tensorflow as tf

from vl_keras.data.caption_words import swap_sides
from vl_keras.data.text_ops import CaptionTokenizer, normalise
from vl_keras.metrics.vqa_accuracy import vqa_accuracy
from vl_keras.tasks.pairing.answers import Answer, answer_metrics, asked_questions, training_answers

if TYPE_CHECKING:
    from vl_keras.data.batch_rows import BatchRows
    from vl_keras.models.answer_writer import AnswerWriter
    from vl_keras.tasks.free_form_vqa import FreeFormVqaTask

_WRITTEN_AT_ONCE = 64  # answers


def answer_ids(task: FreeFormVqaTask, rows: BatchRows) -> Callable:
    """The function that maps question numbers to the ids of their answers, and to whether they have one, in graph."""
    answers = training_answers(task.source(task.config.data.train_split))
    if len(rows.texts) > len(answers):
        answers += [swap_sides(answer) for answer in answers]
    ids = task.answer_tokenizer.encode(tf.constant(answers), task.config.generation.max_length)
    longest = int(tf.reduce_max(tf.math.count_nonzero(ids, axis=1)))
    ids = ids[:, :longest]
    real = tf.constant([answer != "" for answer in answers])

    def label(number: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        there = (number >= 0) & tf.gather(real, tf.maximum(number, 0))
        answer = tf.gather(ids, tf.maximum(number, 0))
        return tf.where(there[..., None], answer, CaptionTokenizer.PAD), there

    return label


def with_answer_ids(x: dict, y: tf.Tensor, weight: tf.Tensor) -> tuple[dict, tf.Tensor, tf.Tensor]:
    """Adds the decoder's input to a batch of `text_dataset`.

    Returns:
        `(x, y, weight)`: x with "answer_ids" `(B, K, L)` int32, start token and answer; y `(B, K, L)` int32, answer and
        end token; weight `(B, K, L)` float32, such that the mean over a batch is the mean over its answers of the mean
        over each answer's tokens.
    """
    start, end, pad = CaptionTokenizer.START, CaptionTokenizer.END, CaptionTokenizer.PAD
    before = tf.where(y == end, pad, y)[..., :-1]
    x["answer_ids"] = tf.concat([tf.fill(tf.shape(y[..., :1]), start), before], axis=-1)
    real = tf.cast(y != pad, tf.float32)
    share = real / tf.maximum(tf.reduce_sum(real, axis=-1, keepdims=True), 1.0)
    return x, y, weight[..., None] * share * tf.cast(tf.shape(y)[-1], tf.float32)


def score_answers(
    task: FreeFormVqaTask,
    model: AnswerWriter,
    split: str,
    limit: int = 0,
    progress: Callable[[int], None] | None = None,
    fit: bool = False,
) -> tuple[dict[str, float], list[Answer]]:
    """Answers every question of a split and scores the answers; see `FreeFormVqaTask.score_split`."""
    source = task.source(split)
    rows = asked_questions(source, limit)
    owners = np.array([index for index, _, _ in rows], np.int64)
    written = write_answers(task, model, split, owners, [question["question"] for _, question, _ in rows], progress)
    comparable = _as_written([truth for _, _, truth in rows])
    answers = [
        Answer(
            index, source.image_ids[index], question["question"], question["kind"].split("\n"), answer, confidence,
            truth, vqa_accuracy(answer, annotated),
        )
        for (index, question, truth), annotated, (answer, confidence) in zip(rows, comparable, written, strict=True)
        if source.image_ids[index] not in source.quarantine
    ]  # fmt: skip
    metrics = answer_metrics(answers, task.settings.target_accuracy if fit else 0)
    if fit:
        task.threshold = metrics.get("threshold", task.threshold)
    return metrics, answers


def write_answers(
    task: FreeFormVqaTask,
    model: AnswerWriter,
    split: str,
    owners: np.ndarray,
    questions: Sequence[str],
    progress: Callable[[int], None] | None = None,
) -> list[tuple[str, float]]:
    """List of `(answer, probability)` for questions about images of a split; `owners` must be in rising order."""
    answer = task.writer(model)
    ids = task.encode_texts(tf.constant(questions, tf.string))
    written: list[tuple[str, float]] = []
    for inputs, indices in task._image_batches(model, split):
        image = model.read_images(inputs)
        first, last = np.searchsorted(owners, (indices[0], indices[-1] + 1))
        for start in range(first, last, _WRITTEN_AT_ONCE):
            chosen = np.arange(start, min(start + _WRITTEN_AT_ONCE, last))
            filled = np.pad(chosen, (0, _WRITTEN_AT_ONCE - len(chosen)), mode="edge")  # one graph for all
            outputs = answer(image, np.searchsorted(indices, owners[filled]), tf.gather(ids, filled))
            texts, scores = outputs["answers"][:, 0].numpy(), outputs["scores"][:, 0].numpy()
            written += [(texts[row].decode("utf-8"), float(scores[row])) for row in range(len(chosen))]
        if progress is not None:
            progress(int(indices[-1]) + 1)
        if len(written) == len(owners):
            break
    return written


def _as_written(truths: Sequence[Sequence[str]]) -> list[list[str]]:
    """Lists of answers in the letter case and spacing that a `CaptionTokenizer` writes."""
    plain = iter(normalise(tf.constant([answer for truth in truths for answer in truth], tf.string)).numpy().tolist())
    return [[next(plain).decode("utf-8") for _ in truth] for truth in truths]
