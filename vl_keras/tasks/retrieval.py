"""Retrieval: images and texts in one space, to find images by texts and texts by images."""

from __future__ import annotations

import functools
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from vl_keras.config.setting import above, at_least, one_of, setting
from vl_keras.errors import RunError
from vl_keras.tasks.described import describe_data
from vl_keras.tasks.task import Evaluation
from vl_keras.tasks.text_task import TextTask

if TYPE_CHECKING:
    import numpy as np
    import tensorflow as tf
    import tf_keras as keras

    from vl_keras.models.dual_encoder import DualEncoder
    from vl_keras.retrieval.caption_memory import CaptionMemory
    from vl_keras.tasks.embedding.embedder import Embedder
    from vl_keras.tasks.serving_signature import ServingSignature

_MODEL_SETTINGS = (
    "hidden_dim",
    "num_heads",
    "num_layers",
    "image_layers",
    "intermediate_dim",
    "dropout",
    "image_dropout",
)
_QUERYBANK = "querybank.jsonl"
LOSS_NAMES = ("info_nce", "sigmoid_pairwise", "hardest_triplet")


@dataclass(frozen=True)
class RetrievalSettings:
    """Images and texts in one space."""

    loss: str = setting("info_nce", "Contrastive loss.", one_of(*LOSS_NAMES))
    embedding_dim: int = setting(512, "Width of the shared space.", at_least(1))
    temperature: float = setting(0.07, "Initial value of the learned temperature of `info_nce`.", above(0))
    margin: float = setting(0.2, "Margin of the triplet loss.", at_least(0))
    querybank: int = setting(
        0,
        "Training images, with a caption each, for querybank normalisation (hubness correction); 0 switches it off.",
        at_least(0),
    )
    rerank_with: str = setting("", "Run of the matching task; its scores, added, rerank the first candidates.")
    rerank_candidates: int = setting(20, "Candidates of each query that `rerank_with` reranks.", at_least(1))


class RetrievalTask(TextTask):
    """A dual encoder trained with one of `CONTRASTIVE_LOSSES` on images and their captions."""

    sections = {"retrieval": RetrievalSettings}
    min_layers = 0
    unused_settings = (
        *TextTask.unused_settings,
        "model.decoder",
        "model.fusion",
        "model.reads",
        "model.word_dropout",
        "training.label_smoothing",
        "generation.",
    )
    run_settings = (*TextTask.run_settings, "retrieval.rerank_", "retrieval.querybank")
    returns = ("embedding",)
    monitor = "mean_recall"
    phase_names = ("contrastive",)
    renamed_phases: ClassVar[Mapping[str, str]] = {"cross_entropy": "contrastive"}
    vocabulary_files = (*TextTask.vocabulary_files, _QUERYBANK)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._embedder_of_model: Embedder | None = None

    def texts(self, split: str) -> list[list[str]]:
        return self.source(split).captions

    @functools.cached_property
    def querybank_texts(self) -> list[str]:
        """A caption of each of the first `retrieval.querybank` training images."""
        captions = [own[0] for own in self.texts(self.config.data.train_split) if own]
        return captions[: self.settings.querybank]

    def save_vocabularies(self, folder: str | Path) -> None:
        super().save_vocabularies(folder)
        if self.settings.querybank:
            lines = [json.dumps(text) + "\n" for text in self.querybank_texts]
            (Path(folder) / _QUERYBANK).write_text("".join(lines), encoding="utf-8")

    def load_vocabularies(self, folder: str | Path) -> None:
        super().load_vocabularies(folder)
        path = Path(folder) / _QUERYBANK
        if path.exists():
            lines = path.read_text(encoding="utf-8").splitlines()
            self.querybank_texts = [json.loads(line) for line in lines][: self.settings.querybank]

    def build(self) -> DualEncoder:
        """A `DualEncoder` with fresh weights, under the current strategy and precision policy."""
        from vl_keras.losses.contrastive_losses import INITIAL_SCALE_AND_BIAS
        from vl_keras.models.dual_encoder import build_dual_encoder

        config = self.config
        log_scale, bias = INITIAL_SCALE_AND_BIAS[self.settings.loss]
        if self.settings.loss == "info_nce":
            log_scale = -math.log(self.settings.temperature)
        return build_dual_encoder(
            self._build_image_encoder(),
            self._build_text_model(),
            self.settings.embedding_dim,
            log_scale=log_scale,
            bias=bias,
            from_image_tokens=config.image_encoder.cache_features,
            from_text_tokens=config.text_encoder.cache_features,
            **{name: getattr(config.model, name) for name in _MODEL_SETTINGS},
        )

    def parts(self, model: DualEncoder) -> dict[str, keras.Model]:
        names = ("image_encoder", "text_encoder", "image_head", "text_head", "scale")
        return {name: getattr(model, name) for name in names}

    def training_data(
        self, model: DualEncoder, first_step: int = 0, num_workers: int = 1, worker: int = 0
    ) -> tf.data.Dataset:
        """Endless dataset of `(x, y, weight)`; y is a placeholder: the place of a text says which image is its own."""
        return self._text_dataset(model, lambda rows: _no_labels, first_step, num_workers, worker)

    def loss(self) -> Callable[..., Any]:
        """The loss that `retrieval.loss` names, with its settings; see `CONTRASTIVE_LOSSES`."""
        from vl_keras.losses.contrastive_losses import CONTRASTIVE_LOSSES

        loss = CONTRASTIVE_LOSSES[self.settings.loss]
        if self.settings.loss != "hardest_triplet":
            return loss
        margin = self.settings.margin
        return lambda *arguments: loss(*arguments, margin=margin)

    def training_model(self, model: DualEncoder, accumulate_steps: int) -> keras.Model:
        from vl_keras.models.contrastive_model import ContrastiveModel

        return ContrastiveModel(model.training_model.input, model.training_model.output, accumulate_steps)

    def embed_images(self, model: DualEncoder, image: tf.Tensor) -> tf.Tensor:
        """`(B, height, width, 3)` images of the configured size, 0 to 255, to `(B, E)` float32, L2-normalised."""
        import tensorflow as tf

        return model.embed_images({"image": tf.cast(image, tf.float32)})

    def embed_texts(self, model: DualEncoder, strings: tf.Tensor) -> tf.Tensor:
        """`(B,)` strings to `(B, E)` float32, L2-normalised."""
        return model.embed_texts(self.encode_texts(strings))

    def similarity_scale(self, model: DualEncoder) -> float:
        """The factor that training multiplies the cosine of an image and a text by."""
        import numpy as np
        import tensorflow as tf

        vector = tf.zeros((1, self.settings.embedding_dim))
        return float(np.exp(model.scale(vector)[0]))

    def fingerprint(self, model: DualEncoder) -> str:
        """64 hexadecimal digits that change with anything that the vectors depend on."""
        from vl_keras.tasks.embedding.embedder import model_fingerprint

        return model_fingerprint(self, model)

    def embed_split(
        self,
        model: DualEncoder,
        split: str,
        limit: int = 0,
        progress: Callable[[int], None] | None = None,
        captions_each: int | None = None,
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Vectors of a split's images and captions.

        Args:
            model: a `DualEncoder`.
            split: name.
            limit: only the first so many images; 0: all.
            progress: called with the number of images that are done.
            captions_each: only the first so many captions of an image; None: all.

        Returns:
            Image vectors `(N, E)`; text vectors `(M, E)`; for each text the place of its image among the N, `(M,)`; and
            the indices of the N images in the source, `(N,)`. Images that cannot be read or have no caption are left
            out.
        """
        return self._embedder(model).embed_split(split, limit, progress, captions_each)

    def embed_captions(
        self, model: DualEncoder, captions: Sequence[str], progress: Callable[[int], None] | None = None
    ) -> np.ndarray:
        """Vectors of many texts, `(M, E)` float32, L2-normalised; see `Embedder`."""
        return self._embedder(model).embed_captions(captions, progress)

    def caption_memory(self, model: DualEncoder, progress: Callable[[int], None] | None = None) -> CaptionMemory:
        """`CaptionMemory` of the training split's captions; `progress` is called with the number that are done."""
        from vl_keras.tasks.embedding.embedder import caption_memory

        return caption_memory(self, model, progress)

    def score_split(
        self, model: DualEncoder, split: str, limit: int = 0, progress: Callable[[int], None] | None = None
    ) -> tuple[dict[str, float], dict[str, Any]]:
        """Scores the search of images by texts and of texts by images.

        If there are more than 1,000 images, the metrics are means over folds of 1,000.

        Args:
            model, split, limit, progress: see `embed_split`.

        Returns:
            Dict of metrics: `image_to_text R@1` and so on, in percent; `mean_recall`, the mean of the six recalls; and
            ranks; and what `retrieval_scores` returns.
        """
        from vl_keras.metrics.retrieval_scores import retrieval_scores
        from vl_keras.tasks.embedding.recall_metrics import PROTOCOL, recall_metrics

        image, text, owner, _ = self.embed_split(model, split, limit, progress)
        scores = retrieval_scores(image, text, owner, PROTOCOL)
        return recall_metrics(scores), scores

    def epoch_metrics(
        self,
        model: DualEncoder,
        split: str,
        limit: int = 0,
        progress: Callable[[int], None] | None = None,
        weights: str = "",
    ) -> tuple[dict[str, float], dict[str, Any]]:
        metrics, scores = self.score_split(model, split, limit, progress)
        return metrics, self.signature(scores, split, weights)

    def signature(self, scores: dict[str, Any], split: str, weights: str) -> dict[str, Any]:
        """Dict that describes how metrics were computed."""
        return {
            **describe_data(self.config.data, split),
            **{name: scores[name] for name in ("images", "texts", "folds")},
            "weights": weights,
        }

    def evaluate(self, model: DualEncoder, request: Evaluation) -> dict[str, Any]:
        from vl_keras.tasks.embedding.evaluate_retrieval import evaluate_retrieval

        return evaluate_retrieval(self, model, request)

    @classmethod
    def use_command(cls, run: str) -> str:
        return f"vl-keras index {run} --images FOLDER --out FOLDER.index"

    def predictor(self, model: DualEncoder, texts: Sequence[str], explains: bool) -> Callable[[tf.Tensor], list]:
        raise RunError(
            "A retrieval run finds images instead: make an index of them with `vl-keras index RUN --images … --out "
            "INDEX` and query it with `vl-keras search INDEX --text …`."
        )

    def serving_signatures(self, model: DualEncoder) -> dict[str, ServingSignature]:
        from vl_keras.tasks.embedding.retrieval_signatures import retrieval_signatures

        return retrieval_signatures(self, model)

    def _embedder(self, model: DualEncoder) -> Embedder:
        from vl_keras.tasks.embedding.embedder import Embedder

        if self._embedder_of_model is None or self._embedder_of_model.model is not model:
            self._embedder_of_model = Embedder(self, model)
        return self._embedder_of_model


def _no_labels(number: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Placeholder labels for text numbers `(B, K)`, and whether there is a text."""
    import tensorflow as tf

    return tf.zeros_like(number, tf.int32), number >= 0
