"""Visual question answering in free form: a caption decoder writes the answer."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vl_keras.config import Config
from vl_keras.errors import RunError
from vl_keras.tasks.pairing.answer_mixin import AnswerMixin
from vl_keras.tasks.pairing.text_pair_task import TextPairTask
from vl_keras.tasks.task import Task
from vl_keras.tasks.vqa import VqaSettings
from vl_keras.tasks.writing.settings import DECODER_SETTINGS, writing_settings

if TYPE_CHECKING:
    import tensorflow as tf
    import tf_keras as keras

    from vl_keras.data.text_ops import CaptionTokenizer
    from vl_keras.models.answer_writer import AnswerWriter
    from vl_keras.tasks.pairing.answers import Answer

_ANSWER_VOCABULARY = "answer_vocabulary.txt"


class FreeFormVqaTask(AnswerMixin, TextPairTask):
    """Question answering by a caption decoder that reads the image and the question; see `TextPairTask`.

    It is trained on the answer of each question that most annotators agree on, with a vocabulary learned from the
    training answers. `generate` writes the answers. The confidence of an answer is the product of its words'
    probabilities.
    """

    sections = {"vqa": VqaSettings}
    unused_settings = (
        *TextPairTask.unused_settings,
        "vqa.num_answers",
        "text_encoder.cache_features",
        "model.fusion",
        "model.reads",
    )
    run_settings = (*TextPairTask.run_settings, "generation.")
    vocabulary_files = (*TextPairTask.vocabulary_files, _ANSWER_VOCABULARY)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._writer: Any = None

    @functools.cached_property
    def answer_tokenizer(self) -> CaptionTokenizer:
        """A `CaptionTokenizer` of the training answers."""
        from vl_keras.data.text_ops import CaptionTokenizer

        return CaptionTokenizer.learn(self._training_answers(), self.config.text.vocab_size, min_count=1)

    def save_vocabularies(self, folder: str | Path) -> None:
        super().save_vocabularies(folder)
        self.answer_tokenizer.save(Path(folder) / _ANSWER_VOCABULARY)

    def load_vocabularies(self, folder: str | Path) -> None:
        from vl_keras.data.text_ops import CaptionTokenizer

        super().load_vocabularies(folder)
        self.answer_tokenizer = CaptionTokenizer.load(Path(folder) / _ANSWER_VOCABULARY)

    def take_vocabularies(self, task: Task, log: Callable[[str], None]) -> None:
        if not isinstance(task, FreeFormVqaTask):
            return
        old = task.answer_tokenizer
        size = max(self.config.text.vocab_size, old.vocab_size)
        self.answer_tokenizer = old.extend(self._training_answers(), size, min_count=1)
        added = self.answer_tokenizer.vocab_size - old.vocab_size
        log(f"The run's {old.vocab_size} tokens of answers are kept, and {added} added.")

    def vocabulary_sizes(self) -> list[int]:
        return [*super().vocabulary_sizes(), self.answer_tokenizer.vocab_size]

    def build(self) -> AnswerWriter:
        """An `AnswerWriter` with fresh weights, under the current strategy and precision policy."""
        from vl_keras.models.answer_writer import build_answer_writer

        config = self.config
        return build_answer_writer(
            self._build_image_encoder(),
            self._build_text_model(),
            self.answer_tokenizer.vocab_size,
            max_length=config.generation.max_length,
            from_image_tokens=config.image_encoder.cache_features,
            **{name: getattr(config.model, name) for name in DECODER_SETTINGS},
        )

    def parts(self, model: AnswerWriter) -> dict[str, keras.Model]:
        captioner = model.captioner
        return {
            "image_encoder": captioner.image_encoder,
            "reader": captioner.reader,  # the text encoder is part of it
            "decoder": captioner.decoder.model,
        }

    def training_data(
        self, model: AnswerWriter, first_step: int = 0, num_workers: int = 1, worker: int = 0
    ) -> tf.data.Dataset:
        """Endless dataset of `(x, y, weight)`; see `with_answer_ids`."""
        from vl_keras.tasks.writing.write_answers import answer_ids, with_answer_ids

        data = self._text_dataset(model, lambda rows: answer_ids(self, rows), first_step, num_workers, worker)
        return data.map(with_answer_ids)

    def loss(self) -> Callable[..., Any]:
        from vl_keras.losses.caption_loss import CaptionLoss

        return CaptionLoss(self.config.training.label_smoothing)

    def score_split(
        self,
        model: AnswerWriter,
        split: str,
        limit: int = 0,
        progress: Callable[[int], None] | None = None,
        fit: bool = False,
    ) -> tuple[dict[str, float], list[Answer]]:
        """Answers every question of a split that has an answer to compare with.

        Args:
            model: an `AnswerWriter`.
            split: name.
            limit: only the questions of the first so many images; 0: all.
            progress: called with the number of images that are done.
            fit: fit the threshold for `vqa.target_accuracy` to this split, and use it.

        Returns:
            Dict of metrics, those of `answer_metrics`, and list of `Answer`. Answers are written in lower case, so the
            annotators' answers are compared with them in lower case as well.
        """
        from vl_keras.tasks.writing.write_answers import score_answers

        return score_answers(self, model, split, limit, progress, fit)

    def signature(self, answers: list[Answer], split: str, weights: str) -> dict[str, Any]:
        """Dict that describes how metrics were computed."""
        from vl_keras.tasks.pairing.answers import answers_signature

        return answers_signature(self.config, answers, split, weights, "written")

    def fitted(self) -> tuple[dict[str, float], str]:
        """Dict of the value fitted to the development split, `threshold`; and a line about confidence."""
        return {"threshold": self.threshold}, "confidence is the probability of the written answer"

    def check_overrides(self, trained: Config) -> None:
        # The decoder's table of positions has a row for each token of the longest answer.
        known, wanted = trained.generation.max_length, self.config.generation.max_length
        if self.config.model.decoder == "transformer" and wanted != known:
            raise RunError(
                f"`generation.max_length` of a {self.config.task} run with a Transformer decoder is that of its "
                f"training, {known}; got {wanted}. Leave it out, or train a run with it."
            )

    def explainer(self, model: AnswerWriter) -> Any:
        from vl_keras.tasks.writing.explain_answers import AnswerExplainer

        return AnswerExplainer(self, model)

    def outputs(self, model: AnswerWriter, regions: tf.Tensor, text_ids: tf.Tensor) -> dict[str, tf.Tensor]:
        """The outputs of the serving signature `answer`, in graph; see `TextPairTask.outputs`.

        Returns:
            Dict: `answer` `(P,)`, the best one, empty if its confidence is below the threshold; `score` `(P,)`, its
            probability; `answers` and `scores` `(P, C)`, all that the search keeps.
        """
        import tensorflow as tf

        from vl_keras.tasks.text_signatures import answer_outputs

        settings = writing_settings(self.config.generation)
        kept = {"beam": settings["beam_size"], "sample": settings["num_captions"]}.get(settings["method"], 1)
        written = model.write(regions, text_ids, **{**settings, "num_captions": kept})
        answers = self.answer_tokenizer.detokenize(written.tokens)
        return answer_outputs(answers, tf.exp(written.log_probs), self.threshold)

    def writer(self, model: AnswerWriter) -> Callable[..., dict[str, tf.Tensor]]:
        """The compiled function that maps `(image tokens, rows, ids)` to `outputs`; kept for the last model."""
        if self._writer is None or self._writer[0] is not model:
            import tensorflow as tf

            self._writer = (
                model,
                tf.function(lambda image, rows, ids: self.outputs(model, image.rows(rows), ids), reduce_retracing=True),
            )
        return self._writer[1]

    def _training_answers(self) -> list[str]:
        from vl_keras.tasks.pairing.answers import check_training_answers, training_answers

        answers = training_answers(self.source(self.config.data.train_split))
        check_training_answers(answers, self.config.data)
        return [answer for answer in answers if answer]
