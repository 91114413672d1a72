"""Visual question answering: an image and a question to an answer among candidates."""

from __future__ import annotations

import collections
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vl_keras.config.setting import PROBABILITY, at_least, setting
from vl_keras.tasks.pairing.answer_mixin import AnswerMixin
from vl_keras.tasks.pairing.pair_task import PairTask
from vl_keras.tasks.task import Task

if TYPE_CHECKING:
    import tensorflow as tf

    from vl_keras.models.pair_classifier import PairClassifier
    from vl_keras.tasks.pairing.answers import Answer

_ANSWERS = "answers.txt"
_LISTED = 5  # most answers that the served model returns with their probabilities


@dataclass(frozen=True)
class VqaSettings:
    """Visual question answering."""

    num_answers: int = setting(3000, "Candidates: the most frequent answers of the training questions.", at_least(2))
    target_accuracy: float = setting(
        0.0,
        "Answers are withheld if their confidence is below the threshold that reaches this accuracy on the development "
        "split; 0 withholds none.",
        PROBABILITY,
    )


class VqaTask(AnswerMixin, PairTask):
    """Question answering as classification (Antol et al., 2015): softmax over the most frequent training answers.

    It is trained on the annotators' soft targets; training questions without a candidate among their answers are
    skipped.
    """

    sections = {"vqa": VqaSettings}
    vocabulary_files = (*PairTask.vocabulary_files, _ANSWERS)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._candidates: list[str] | None = None
        self.temperature = 1.0

    @property
    def answers(self) -> list[str]:
        """The candidates, most frequent first."""
        if self._candidates is None:
            from vl_keras.tasks.pairing.answers import check_training_answers, training_answers

            answers = training_answers(self.source(self.config.data.train_split))
            check_training_answers(answers, self.config.data)
            counts = collections.Counter(answer for answer in answers if answer)
            ranked = sorted(counts, key=lambda answer: (-counts[answer], answer))
            self._candidates = ranked[: self.settings.num_answers]
        return self._candidates

    @property
    def num_outputs(self) -> int:
        return len(self.answers)

    def save_vocabularies(self, folder: str | Path) -> None:
        super().save_vocabularies(folder)
        (Path(folder) / _ANSWERS).write_text("".join(f"{answer}\n" for answer in self.answers), encoding="utf-8")

    def load_vocabularies(self, folder: str | Path) -> None:
        super().load_vocabularies(folder)
        content = (Path(folder) / _ANSWERS).read_bytes().decode("utf-8")
        self._candidates = content.removesuffix("\n").split(
            "\n"
        )  # not `splitlines`: an answer may hold other line breaks

    def take_vocabularies(self, task: Task, log: Callable[[str], None]) -> None:
        if not isinstance(task, VqaTask):
            return
        old, new = task.answers, self.answers
        self._candidates = [*old, *(answer for answer in new if answer not in set(old))]
        log(f"The {len(old)} answers of the run are kept, and {len(self._candidates) - len(old)} added.")

    def vocabulary_sizes(self) -> list[int]:
        return [*super().vocabulary_sizes(), self.num_outputs]

    def use_metrics(self, metrics: Mapping[str, float]) -> None:
        super().use_metrics(metrics)
        self.temperature = metrics.get("temperature", 1.0)

    def training_data(
        self, model: PairClassifier, first_step: int = 0, num_workers: int = 1, worker: int = 0
    ) -> tf.data.Dataset:
        """Endless dataset of `(x, y, weight)`, y `(B, K, A)` float32 that sums to 1; see `text_dataset`."""
        from vl_keras.tasks.pairing.score_answers import answer_labels

        return self._text_dataset(model, lambda rows: answer_labels(self, rows), first_step, num_workers, worker)

    def loss(self) -> Callable[..., Any]:
        import tf_keras as keras

        smoothing = self.config.training.label_smoothing
        return keras.losses.CategoricalCrossentropy(from_logits=True, label_smoothing=smoothing)

    def score_split(
        self,
        model: PairClassifier,
        split: str,
        limit: int = 0,
        progress: Callable[[int], None] | None = None,
        fit: bool = False,
    ) -> tuple[dict[str, float], list[Answer]]:
        """Answers every question of a split that has an answer to compare with.

        Args:
            model: a `PairClassifier`.
            split: name.
            limit: only the questions of the first so many images; 0: all.
            progress: called with the number of images that are done.
            fit: fit the temperature and, for `vqa.target_accuracy`, the threshold to this split, and use them.

        Returns:
            Dict of metrics, and list of `Answer`. Metrics: `accuracy`, the official VQA accuracy (with one annotator:
            equality); `accuracy KIND` for each broadest kind of question; `calibration_error` of the confidence (15
            bins); `in_candidates`, the share of questions that some candidate answers fully or in part; if fitted,
            `temperature`, and `threshold` with its `coverage`.
        """
        from vl_keras.tasks.pairing.score_answers import score_answers

        return score_answers(self, model, split, limit, progress, fit)

    def signature(self, answers: list[Answer], split: str, weights: str) -> dict[str, Any]:
        """Dict that describes how metrics were computed."""
        from vl_keras.tasks.pairing.answers import answers_signature

        return answers_signature(self.config, answers, split, weights, self.num_outputs)

    def fitted(self) -> tuple[dict[str, float], str]:
        """Dict of the values fitted to the development split, `temperature` and `threshold`; and a line about them."""
        line = f"confidence is softmax(logits / {self.temperature:.3f}), a temperature fitted to"
        return {"temperature": self.temperature, "threshold": self.threshold}, f"{line} {self.config.data.dev_split}"

    def outputs(self, model: PairClassifier, regions: tf.Tensor, text_ids: tf.Tensor) -> dict[str, tf.Tensor]:
        """The outputs of the serving signature `answer`, in graph; see `TextPairTask.outputs`.

        Returns:
            Dict: `answer` `(P,)`, the best one, empty if its confidence is below the threshold; `score` `(P,)`, its
            calibrated probability; `answers` and `scores` `(P, C)`, the most probable ones.
        """
        import tensorflow as tf

        from vl_keras.tasks.text_signatures import answer_outputs

        logits = model.answer(regions, text_ids)["logits"]
        scores, places = tf.math.top_k(tf.nn.softmax(logits / self.temperature), min(_LISTED, self.num_outputs))
        return answer_outputs(tf.gather(tf.constant(self.answers), places), scores, self.threshold)
