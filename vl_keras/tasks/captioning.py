"""Captioning: writes sentences about images, with or without a text beside each image."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from vl_keras.config import Config, GenerationConfig
from vl_keras.errors import ConfigError, RunError
from vl_keras.tasks.phase_plan import PhasePlan
from vl_keras.tasks.task import Evaluation, Task, TextInput
from vl_keras.tasks.writing.settings import DECODER_SETTINGS, writing_settings

if TYPE_CHECKING:
    import tensorflow as tf
    import tf_keras as keras

    from vl_keras.metrics.caption_scores import CaptionScores
    from vl_keras.metrics.score_signature import ScoreSignature
    from vl_keras.models.captioner import Captioner
    from vl_keras.retrieval.caption_memory import CaptionMemory
    from vl_keras.tasks.serving_signature import ServingSignature
    from vl_keras.tasks.writing.caption_scores import Caption
    from vl_keras.tasks.writing.caption_writer import CaptionWriter

_WRITTEN_AT_ONCE = 64  # images whose captions are written at the same time


class CaptioningTask(Task):
    """The captioning job of one `Config`; see `Task`."""

    unused_settings = ("text_encoder.num_layers", "text_encoder.cache_features", "model.fusion", "model.reads")
    run_settings = (*Task.run_settings, "generation.")
    inputs = (TextInput("context", "text that the model reads beside every image"),)
    returns = ("caption", "score")
    monitor = "CIDEr-D"
    phase_names = (*Task.phase_names, "self_critical")
    epoch_settings = (*Task.epoch_settings, "training.self_critical.epochs")
    has_java_metrics = True

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._writer: tuple = (None, None, None)
        self._memories: dict[str, CaptionMemory] = {}
        self._consensus: dict[str, Any] = {}

    def training_texts(self) -> list[str]:
        """Every caption of the training split, as written."""
        source = self.source(self.config.data.train_split)
        return [caption for captions in source.captions for caption in captions]

    @classmethod
    def check_settings(cls, config: Config) -> None:
        super().check_settings(config)
        if config.text_encoder.encoder and config.data.context == "none":
            raise ConfigError(
                "`text_encoder.encoder` is set but `data.context` is none, so it would read nothing; set "
                "`data.context` to field or caption_words, or leave the encoder empty."
            )

    def check_data(self) -> None:
        """See `Task`; also raises `RetrievalError` if `generation.memory` is damaged or holds the development split."""
        super().check_data()
        self.check_not_recalled(self.config.data.dev_split, self.config.generation)

    # Model and training

    def build(self) -> Captioner:
        """A `Captioner` with fresh weights, under the current strategy and precision policy."""
        from vl_keras.models.captioner import build_captioner

        self.generation_settings()  # raises errors now, not at the end of the first epoch
        config = self.config
        image_encoder = self._build_image_encoder()
        text_encoder = self._load_text_encoder()
        return build_captioner(
            image_encoder,
            self.tokenizer.vocab_size,
            text_encoder=text_encoder and text_encoder.model,
            max_length=config.text.max_length,
            members=config.model.members,
            from_image_tokens=config.image_encoder.cache_features,
            **{name: getattr(config.model, name) for name in DECODER_SETTINGS},
        )

    def parts(self, captioner: Captioner) -> dict[str, keras.Model]:
        return {
            "image_encoder": captioner.image_encoder,
            "reader": captioner.reader,
            "decoder": captioner.decoder.model,
        }

    def start_fresh(self, captioner: Captioner, log: Callable[[str], None]) -> None:
        """Word vectors by a BERT, if the settings name one; see `start_word_vectors`."""
        if self.config.text.word_vectors.encoder:
            from vl_keras.tasks.writing.start_words import start_word_vectors

            start_word_vectors(self, captioner, log)

    def training_data(
        self, captioner: Captioner, first_step: int = 0, num_workers: int = 1, worker: int = 0
    ) -> tf.data.Dataset:
        """Endless dataset of `(x, y, weight)` from batch `first_step` on; see `caption_dataset`."""
        from vl_keras.data.pipeline import caption_dataset

        split = self.config.data.train_split
        return caption_dataset(
            self.config,
            self.source(split),
            self.tokenizer,
            training=True,
            first_step=first_step,
            end_step=self.end_step,
            features=self.features(captioner, split),
            prepare_context=self.prepare_context,
            inputs=captioner.training_model.input_names,
            num_workers=num_workers,
            worker=worker,
        )

    def loss(self) -> Callable[..., Any]:
        from vl_keras.losses.caption_loss import CaptionLoss

        return CaptionLoss(self.config.training.label_smoothing)

    def phases(self, captioner: Captioner, log: Callable[[str], None]) -> Sequence[PhasePlan]:
        """Cross-entropy; then self-critical training if `training.self_critical.epochs` is above 0."""
        phases = super().phases(captioner, log)
        if not self.config.training.self_critical.epochs:
            return phases
        from vl_keras.tasks.writing.self_critical import self_critical_phase

        return (*phases, self_critical_phase(self, captioner, log))

    @property
    def prepare_context(self) -> Callable[[tf.Tensor], dict[str, tf.Tensor]] | None:
        """`(B,)` context strings to the text encoder's inputs; None without a text encoder."""
        return self.text_encoder.preprocess if self.text_encoder is not None else None

    # Captions

    def evaluation_data(self, captioner: Captioner, split: str, batch_size: int = _WRITTEN_AT_ONCE) -> tf.data.Dataset:
        """Dataset of `(x, indices)`: every image of a split once, in order."""
        from vl_keras.tasks.writing.caption_scores import evaluation_data

        return evaluation_data(self, captioner, split, batch_size)

    def generation_settings(self, generation: GenerationConfig | None = None) -> dict[str, Any]:
        """Arguments of `generate` for a `GenerationConfig`, by default the config's own."""
        generation = generation or self.config.generation
        if generation.max_length > self.config.text.max_length:
            raise ConfigError(
                "`generation.max_length` must be at most `text.max_length`, the longest caption the model is made for; "
                f"got {generation.max_length} and {self.config.text.max_length}."
            )
        return writing_settings(generation)

    def writer(self, captioner: Captioner, generation: GenerationConfig | None = None) -> CaptionWriter:
        """The `CaptionWriter` of these settings; the last one is kept, so that its graph is built once."""
        from vl_keras.tasks.writing.caption_writer import CaptionWriter

        memory = (generation or self.config.generation).memory
        settings = {**self.generation_settings(generation), "memory": memory}
        of, with_settings, writer = self._writer
        if of is not captioner or with_settings != settings:
            ranked = self.prepare(captioner, generation)
            search = self.generation_settings(generation)
            writer = CaptionWriter(ranked, self.tokenizer, search, _WRITTEN_AT_ONCE, self._jit_compile)
            self._writer = (captioner, settings, writer)
        return writer

    def caption_split(
        self,
        captioner: Captioner,
        split: str,
        generation: GenerationConfig | None = None,
        limit: int = 0,
        progress: Callable[[int], None] | None = None,
    ) -> list[Caption]:
        """Writes a caption for each image of a split.

        Args:
            captioner: a `Captioner` that `build` made.
            split: name.
            generation: `GenerationConfig`; None: the config's.
            limit: only the first so many images; 0: all.
            progress: called with the number of images that are done.

        Returns:
            List of `Caption`, without the images that could not be read.
        """
        from vl_keras.tasks.writing.caption_scores import caption_split

        return caption_split(self, captioner, split, generation, limit, progress)

    def score_split(
        self,
        captioner: Captioner,
        split: str,
        generation: GenerationConfig | None = None,
        limit: int = 0,
        progress: Callable[[int], None] | None = None,
        with_java: bool = False,
    ) -> tuple[CaptionScores, list[Caption]]:
        """`CaptionScores` of the captions written for a split, and the `Caption`s; arguments as `caption_split`."""
        from vl_keras.tasks.writing.caption_scores import score_split

        return score_split(self, captioner, split, generation, limit, progress, with_java)

    def epoch_metrics(
        self,
        captioner: Captioner,
        split: str,
        limit: int = 0,
        progress: Callable[[int], None] | None = None,
        weights: str = "",
    ) -> tuple[dict[str, float], dict[str, Any]]:
        scores, captions = self.score_split(captioner, split, limit=limit, progress=progress)
        return scores.metrics, self.signature(captions, scores, split, weights).as_dict()

    def signature(self, captions: list[Caption], scores: CaptionScores, split: str, weights: str) -> ScoreSignature:
        """`ScoreSignature` of the result of `score_split`; `weights`: which weights these are, in a word."""
        from vl_keras.tasks.writing.caption_scores import captions_signature

        return captions_signature(self, captions, scores, split, weights)

    def evaluate(self, captioner: Captioner, request: Evaluation) -> dict[str, Any]:
        from vl_keras.tasks.writing.evaluate_captions import evaluate_captions

        return evaluate_captions(self, captioner, request)

    def predictor(self, captioner: Captioner, texts: Sequence[str], explains: bool) -> Callable[[tf.Tensor], list]:
        from vl_keras.tasks.writing.predict_captions import CaptionPredictor

        if texts and self.text_encoder is None:
            raise RunError("The run has no text encoder, so it cannot read a context.")
        return CaptionPredictor(self, captioner, "".join(texts), explains)

    def sample_images(self, captioner: Captioner, split: str) -> Callable[[], tuple[list, list[str]]] | None:
        from vl_keras.tasks.writing.sample_captions import SampleCaptions

        return SampleCaptions(self, captioner, split)

    def serving_signatures(self, captioner: Captioner) -> dict[str, ServingSignature]:
        from vl_keras.tasks.writing.caption_signatures import caption_signatures

        return caption_signatures(self, captioner)

    # Memories of captions

    def prepare(self, captioner: Captioner, generation: GenerationConfig | None = None) -> Captioner:
        """Adds the memory of `generation.memory`, which ranks the captions, to a captioner.

        Args:
            captioner: a `Captioner` with its trained or loaded weights.
            generation: `GenerationConfig`; None: the config's.

        Returns:
            `Captioner`; the same one if `generation.memory` is empty.

        Raises:
            RetrievalError: there is no such memory, or it was made with another image encoder.
        """
        path = (generation or self.config.generation).memory
        if not path:
            return captioner
        if path not in self._consensus:
            from vl_keras.tasks.writing.recall import consensus_of

            self._consensus[path] = consensus_of(self, captioner, path)
        return captioner._replace(consensus=self._consensus[path])

    def memory(self, path: str) -> CaptionMemory:
        """The `CaptionMemory` in a folder, loaded once."""
        if path not in self._memories:
            from vl_keras.retrieval.caption_memory import CaptionMemory

            self._memories[path] = CaptionMemory.load(path)
        return self._memories[path]

    def check_not_recalled(self, split: str, generation: GenerationConfig) -> None:
        """Raises `RetrievalError` if the memory holds captions of a split that is to be evaluated."""
        from vl_keras.tasks.writing.recall import check_not_recalled

        check_not_recalled(self, split, generation)

    # Ensembles

    def join_settings(self, count: int) -> list[str]:
        if self.config.model.members > 1:
            raise RunError(f"It has `model.members` {self.config.model.members}; an ensemble joins runs of one.")
        return [f"model.members={count}", "training.self_critical.epochs=0"]

    def join(self, captioner: Captioner, members: Sequence[tuple[Task, Captioner]]) -> None:
        from vl_keras.tasks.writing.join_captioners import join_captioners

        join_captioners(self, captioner, members)
