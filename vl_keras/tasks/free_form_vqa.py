"""Visual question answering in words of its own: a caption decoder writes the answer."""

import functools
from pathlib import Path

import numpy as np
import tensorflow as tf

from vl_keras.data.caption_words import swap_sides
from vl_keras.data.text_ops import CaptionTokenizer, normalise
from vl_keras.losses.caption_loss import CaptionLoss
from vl_keras.metrics.vqa_accuracy import vqa_accuracy
from vl_keras.models.answer_writer import build_answer_writer
from vl_keras.tasks.captioning import MODEL_SETTINGS, writing_settings
from vl_keras.tasks.pairing.answers import (
    Answer,
    answer_metrics,
    answers_signature,
    asked_questions,
    check_training_answers,
    training_answers,
)
from vl_keras.tasks.pairing.text_signatures import said_answers, text_signatures
from vl_keras.tasks.pairing.text_task import TextTask

_ANSWER_VOCABULARY = "answer_vocabulary.txt"
_WRITTEN_AT_ONCE = 64  # answers


class FreeFormVqaTask(TextTask):
    """Question answering by a caption decoder that reads the image and the question; see `TextTask`.

    It is trained on each question's most agreed answer, written with a vocabulary of the training answers' own, and
    answers what `generate` finds. An answer's confidence is its probability, word by word.
    """

    monitor = "accuracy"
    reads = "questions with answers"

    def __init__(self, config, tokenizer=None, encoder_weights=None, jit_compile=False):
        super().__init__(config, tokenizer, encoder_weights, jit_compile)
        self.threshold = 0.0
        self._writer = (None, None)

    @functools.cached_property
    def answer_tokenizer(self):
        """A `CaptionTokenizer` of the training answers."""
        return CaptionTokenizer.learn(self._training_answers(), self.config.text.vocab_size, min_count=1)

    def save_vocabularies(self, folder):
        super().save_vocabularies(folder)
        self.answer_tokenizer.save(Path(folder) / _ANSWER_VOCABULARY)

    def load_vocabularies(self, folder):
        super().load_vocabularies(folder)
        self.answer_tokenizer = CaptionTokenizer.load(Path(folder) / _ANSWER_VOCABULARY)

    def take_vocabularies(self, task, log):
        old = task.answer_tokenizer
        size = max(self.config.text.vocab_size, old.vocab_size)
        self.answer_tokenizer = old.extend(self._training_answers(), size, min_count=1)
        added = self.answer_tokenizer.vocab_size - old.vocab_size
        log(f"The run's {old.vocab_size} tokens of answers are kept, and {added} added.")

    def vocabulary_sizes(self):
        return [*super().vocabulary_sizes(), self.answer_tokenizer.vocab_size]

    def use_metrics(self, metrics):
        self.threshold = metrics.get("threshold", 0.0)

    def has_examples(self, split):
        return bool(asked_questions(self.source(split)))

    def texts(self, split):
        return [[question["question"] for question in questions] for questions in self.source(split).questions]

    def build(self):
        """An `AnswerWriter` with fresh weights, under the current strategy and precision policy."""
        config = self.config
        return build_answer_writer(
            self._build_image_encoder(),
            self._build_text_model(),
            self.answer_tokenizer.vocab_size,
            max_length=config.generation.max_length,
            from_image_tokens=config.image_encoder.cache_features,
            **{name: getattr(config.model, name) for name in MODEL_SETTINGS},
        )

    def parts(self, model):
        """Dict of name -> keras.Model: everything of an `AnswerWriter` that has weights."""
        captioner = model.captioner
        return {
            "image_encoder": captioner.image_encoder,
            "reader": captioner.reader,  # the text encoder is part of it
            "decoder": captioner.decoder.model,
        }

    def training_data(self, model, first_step=0, num_workers=1, worker=0):
        """Endless dataset of `(x, y, weight)`: x as of `text_dataset`, with "answer_ids" `(B, K, L)` int32, start token
        and answer; y `(B, K, L)` int32, answer and end token; weight `(B, K, L)` float32, which makes the mean over a
        batch the mean over its answers of each one's mean over its tokens."""
        data = self._text_dataset(model, self._label, first_step, num_workers, worker)
        start, end, pad = CaptionTokenizer.START, CaptionTokenizer.END, CaptionTokenizer.PAD

        def with_answers(x, y, weight):
            before = tf.where(y == end, pad, y)[..., :-1]
            x["answer_ids"] = tf.concat([tf.fill(tf.shape(y[..., :1]), start), before], axis=-1)
            real = tf.cast(y != pad, tf.float32)
            share = real / tf.maximum(tf.reduce_sum(real, axis=-1, keepdims=True), 1.0)
            return x, y, weight[..., None] * share * tf.cast(tf.shape(y)[-1], tf.float32)

        return data.map(with_answers)

    def loss(self):
        return CaptionLoss(self.config.training.label_smoothing)

    def measure(self, model, split, limit=0, progress=None, fit=False):
        """Answers every question of a split that has an answer to compare with.

        Args:
            model: an `AnswerWriter`.
            split: name.
            limit: only the questions of the first so many images; 0: all.
            progress: called with the number of images that are done.
            fit: fit the threshold for `vqa.target_accuracy` to this split, and use it.

        Returns:
            Dict of measures, those of `answer_metrics`, and list of `Answer`. What is written is in lower case, so
            the annotators' answers are compared with it in lower case as well.
        """
        source = self.source(split)
        rows = asked_questions(source, limit)
        owners = np.array([index for index, _, _ in rows], np.int64)
        written = self._write(model, split, owners, [question["question"] for _, question, _ in rows], progress)
        unreadable = {name for name, _ in source.quarantine.rows}
        comparable = _as_written([truth for _, _, truth in rows])
        answers = [
            Answer(
                index, source.image_ids[index], question["question"], question["kind"].split("\n"), answer, confidence,
                truth, vqa_accuracy(answer, judges),
            )
            for (index, question, truth), judges, (answer, confidence) in zip(rows, comparable, written, strict=True)
            if source.image_ids[index] not in unreadable
        ]  # fmt: skip
        metrics = answer_metrics(answers, self.config.vqa.target_accuracy if fit else 0)
        if fit:
            self.threshold = metrics.get("threshold", self.threshold)
        return metrics, answers

    def epoch_metrics(self, model, split, limit=0, progress=None, weights=""):
        metrics, answers = self.measure(model, split, limit, progress, fit=True)
        return metrics, self.signature(answers, split, weights)

    def signature(self, answers, split, weights):
        """Dict that says what measures were taken with."""
        return answers_signature(self.config, answers, split, weights, "written")

    def fitted(self):
        """Dict of what was fitted to the development split: `threshold`; and a line about confidence."""
        return {"threshold": self.threshold}, "confidence is the probability of the written answer"

    def serving_signatures(self, model):
        """What the trained model answers when it is served; the first one is the default."""
        return text_signatures(self, model, "answer", "question")

    def say(self, model, image_tokens, text_ids):
        """The outputs of `answer`, the serving signature, for `(P, R, Dv)` and questions `(P, T)`, in graph.

        Dict: `answer` `(P,)`, the best one, empty where its confidence is below the threshold; `score` `(P,)`, its
        probability; `answers` and `scores` `(P, C)`, all that the search keeps.
        """
        settings = writing_settings(self.config.generation)
        kept = {"beam": settings["beam_size"], "sample": settings["num_captions"]}.get(settings["method"], 1)
        written = model.write(image_tokens, text_ids, **{**settings, "num_captions": kept})
        answers = self.answer_tokenizer.detokenize(written.tokens)
        return said_answers(answers, tf.exp(written.log_probs), self.threshold)

    def _training_answers(self):
        answers = training_answers(self.source(self.config.data.train_split))
        check_training_answers(answers, self.config.data)
        return [answer for answer in answers if answer]

    def _label(self, rows):
        """Function of question numbers to the ids of their answers, and to whether they have one."""
        answers = training_answers(self.source(self.config.data.train_split))
        if len(rows.texts) > len(answers):
            answers += [swap_sides(answer) for answer in answers]
        ids = self.answer_tokenizer.encode(tf.constant(answers), self.config.generation.max_length)
        longest = int(tf.reduce_max(tf.math.count_nonzero(ids, axis=1)))
        ids = ids[:, :longest]
        real = tf.constant([answer != "" for answer in answers])

        def label(number):
            there = (number >= 0) & tf.gather(real, tf.maximum(number, 0))
            answer = tf.gather(ids, tf.maximum(number, 0))
            return tf.where(there[..., None], answer, CaptionTokenizer.PAD), there

        return label

    def _write(self, model, split, owners, questions, progress):
        """List of (answer, its probability) for questions about a split's images, their `owners` in rising order."""
        of, answer = self._writer
        if of is not model:
            answer = tf.function(
                lambda tokens, rows, ids: self.say(model, tf.gather(tokens, rows), ids), reduce_retracing=True
            )
            self._writer = (model, answer)
        ids = self.encode_texts(tf.constant(questions, tf.string))
        written = []
        for inputs, indices in self._image_batches(model, split):
            tokens = model.read_images(inputs)
            first, last = np.searchsorted(owners, (indices[0], indices[-1] + 1))
            for start in range(first, last, _WRITTEN_AT_ONCE):
                chosen = np.arange(start, min(start + _WRITTEN_AT_ONCE, last))
                filled = np.pad(chosen, (0, _WRITTEN_AT_ONCE - len(chosen)), mode="edge")  # one graph for all
                said = answer(tokens, np.searchsorted(indices, owners[filled]), tf.gather(ids, filled))
                texts, scores = said["answers"][:, 0].numpy(), said["scores"][:, 0].numpy()
                written += [(texts[row].decode("utf-8"), float(scores[row])) for row in range(len(chosen))]
            if progress is not None:
                progress(int(indices[-1]) + 1)
            if len(written) == len(owners):
                break
        return written


def _as_written(truths):
    """Lists of answers in the letter case and spacing that a `CaptionTokenizer` writes."""
    plain = iter(normalise(tf.constant([answer for truth in truths for answer in truth], tf.string)).numpy().tolist())
    return [[next(plain).decode("utf-8") for _ in truth] for truth in truths]
