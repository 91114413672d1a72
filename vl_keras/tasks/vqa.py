"""Visual question answering: an image and a question to an answer among candidates."""

import collections
from pathlib import Path

import numpy as np
import tensorflow as tf
import tf_keras as keras

from vl_keras.data.builders.annotators import annotators
from vl_keras.data.caption_words import swap_sides
from vl_keras.metrics.calibration import fit_temperature
from vl_keras.metrics.vqa_accuracy import soft_target, vqa_accuracy
from vl_keras.tasks.pairing.answers import (
    Answer,
    answer_metrics,
    answers_signature,
    asked_questions,
    check_training_answers,
    training_answers,
)
from vl_keras.tasks.pairing.pair_task import PairTask
from vl_keras.tasks.pairing.text_signatures import said_answers, text_signatures

_ANSWERS = "answers.txt"
_LISTED = 5  # most answers that are served with their probabilities
_MOST_ANNOTATED = 10  # different answers of one question that training knows


class VqaTask(PairTask):
    """Question answering as classification (Antol et al., 2015): softmax over the most frequent training answers.

    Trained on the annotators' soft targets; a training question none of whose answers is a candidate does not count.
    """

    monitor = "accuracy"
    reads = "questions with answers"

    def __init__(self, config, tokenizer=None, encoder_weights=None, jit_compile=False):
        super().__init__(config, tokenizer, encoder_weights, jit_compile)
        self._candidates = None
        self.temperature = 1.0
        self.threshold = 0.0

    @property
    def answers(self):
        """The candidates, most frequent first."""
        if self._candidates is None:
            answers = training_answers(self.source(self.config.data.train_split))
            check_training_answers(answers, self.config.data)
            counts = collections.Counter(answer for answer in answers if answer)
            ranked = sorted(counts, key=lambda answer: (-counts[answer], answer))
            self._candidates = ranked[: self.config.vqa.num_answers]
        return self._candidates

    @property
    def num_outputs(self):
        return len(self.answers)

    def save_vocabularies(self, folder):
        super().save_vocabularies(folder)
        (Path(folder) / _ANSWERS).write_text("".join(f"{answer}\n" for answer in self.answers), encoding="utf-8")

    def load_vocabularies(self, folder):
        super().load_vocabularies(folder)
        content = (Path(folder) / _ANSWERS).read_bytes().decode("utf-8")
        self._candidates = content.removesuffix("\n").split("\n")  # an answer may hold other characters that end lines

    def take_vocabularies(self, task, log):
        old, new = task.answers, self.answers
        self._candidates = [*old, *(answer for answer in new if answer not in set(old))]
        log(f"The {len(old)} answers of the run are kept, and {len(self._candidates) - len(old)} added.")

    def vocabulary_sizes(self):
        return [*super().vocabulary_sizes(), self.num_outputs]

    def use_metrics(self, metrics):
        self.temperature = metrics.get("temperature", 1.0)
        self.threshold = metrics.get("threshold", 0.0)

    def has_examples(self, split):
        return bool(asked_questions(self.source(split)))

    def texts(self, split):
        return [[question["question"] for question in questions] for questions in self.source(split).questions]

    def training_data(self, model, first_step=0, num_workers=1, worker=0):
        """Endless dataset of `(x, y, weight)`, y `(B, K, A)` float32 that sums to 1; see `text_dataset`."""
        return self._text_dataset(model, self._label, first_step, num_workers, worker)

    def loss(self):
        smoothing = self.config.training.label_smoothing
        return keras.losses.CategoricalCrossentropy(from_logits=True, label_smoothing=smoothing)

    def _label(self, rows):
        """Function of question numbers to soft targets, and to whether they have one."""
        known = {answer: number for number, answer in enumerate(self.answers)}
        questions = [question for row in self.source(self.config.data.train_split).questions for question in row]
        places = np.zeros((len(rows.texts), _MOST_ANNOTATED), np.int32)
        scores = np.zeros((len(rows.texts), _MOST_ANNOTATED), np.float32)
        for number in range(len(rows.texts)):
            mirrored, question = divmod(number, len(questions))
            target = soft_target(annotators(questions[question]["answer"]))
            pairs = [(swap_sides(answer) if mirrored else answer, score) for answer, score in target.items()]
            pairs = [(known[answer], score) for answer, score in pairs if answer in known][:_MOST_ANNOTATED]
            total = sum(score for _, score in pairs)
            for place, (candidate, score) in enumerate(pairs):
                places[number, place], scores[number, place] = candidate, score / total

        def look_up(number):
            there = number >= 0
            return places[number], np.where(there[..., None], scores[number], 0).astype(np.float32)

        def label(number):
            candidate, score = tf.numpy_function(look_up, [number], [tf.int32, tf.float32])
            candidate.set_shape((*number.shape, _MOST_ANNOTATED))
            score.set_shape((*number.shape, _MOST_ANNOTATED))
            target = tf.reduce_sum(tf.one_hot(candidate, len(known)) * score[..., None], axis=-2)
            return target, tf.reduce_sum(score, axis=-1) > 0

        return label

    def measure(self, model, split, limit=0, progress=None, fit=False):
        """Answers every question of a split that has an answer to compare with.

        Args:
            model: a `PairClassifier`.
            split: name.
            limit: only the questions of the first so many images; 0: all.
            progress: called with the number of images that are done.
            fit: fit the temperature (and, for `vqa.target_accuracy`, the threshold) to this split, and use them.

        Returns:
            Dict of measures, and list of `Answer`. `accuracy` is the official VQA accuracy, which with one annotator is
            equality; `accuracy KIND` that of a broadest kind of question; `calibration_error` of the confidence (15
            bins); `in_candidates` the share of questions that some candidate answers fully or in part; where fitted,
            `temperature`, and `threshold` with its `coverage`.
        """
        source = self.source(split)
        rows = asked_questions(source, limit)
        owners = [index for index, _, _ in rows]
        logits = self.pair_logits(model, split, owners, [question["question"] for _, question, _ in rows], progress)
        readable = ~np.isnan(logits[:, 0])
        if not readable.all():  # no copy without need: the logits of VQA v2's development split take gigabytes
            rows, logits = [row for row, good in zip(rows, readable, strict=True) if good], logits[readable]
        known = {answer: number for number, answer in enumerate(self.answers)}
        targets = [soft_target(truth) for _, _, truth in rows]
        labels = [known.get(max(target, key=target.get), -1) if target else -1 for target in targets]
        labels = np.array(labels, np.int64)
        known_rows = labels >= 0
        if fit and known_rows.any():
            self.temperature = fit_temperature(logits if known_rows.all() else logits[known_rows], labels[known_rows])
        answers = []
        for (index, question, truth), target, scores in zip(rows, targets, logits, strict=True):
            confidence = _softmax(scores / self.temperature)
            best = int(np.argmax(confidence))
            answer = self.answers[best]
            answers.append(
                Answer(
                    index, source.image_ids[index], question["question"], question["kind"].split("\n"), answer,
                    float(confidence[best]), truth, vqa_accuracy(answer, truth), any(a in known for a in target),
                )
            )  # fmt: skip
        metrics = answer_metrics(answers, self.config.vqa.target_accuracy if fit else 0)
        if fit:
            metrics["temperature"] = self.temperature
            self.threshold = metrics.get("threshold", self.threshold)
        return metrics, answers

    def epoch_metrics(self, model, split, limit=0, progress=None, weights=""):
        metrics, answers = self.measure(model, split, limit, progress, fit=True)
        return metrics, self.signature(answers, split, weights)

    def signature(self, answers, split, weights):
        """Dict that says what measures were taken with."""
        return answers_signature(self.config, answers, split, weights, self.num_outputs)

    def fitted(self):
        """Dict of what was fitted to the development split: `temperature` and `threshold`; and a line about them."""
        line = f"confidence is softmax(logits / {self.temperature:.3f}), a temperature fitted to"
        return {"temperature": self.temperature, "threshold": self.threshold}, f"{line} {self.config.data.dev_split}"

    def say(self, model, regions, text_ids):
        """The outputs of `answer`, the serving signature, for regions `(P, R, D)` and questions `(P, T)`, in graph.

        Dict: `answer` `(P,)`, the best one, empty where its confidence is below the threshold; `score` `(P,)`, its
        calibrated probability; `answers` and `scores` `(P, C)`, the most probable ones.
        """
        logits = model.answer(regions, text_ids)["logits"]
        scores, places = tf.math.top_k(tf.nn.softmax(logits / self.temperature), min(_LISTED, self.num_outputs))
        answers = tf.gather(tf.constant(self.answers), places)
        return said_answers(answers, scores, self.threshold)

    def serving_signatures(self, model):
        """What the trained model answers when it is served; the first one is the default."""
        return text_signatures(self, model, "answer", "question")


def _softmax(logits):
    weights = np.exp(logits - logits.max())
    return weights / weights.sum()
