"""The base class of tasks that read texts beside images: questions, sentences, captions."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from vl_keras.tasks.task import Task

if TYPE_CHECKING:
    import numpy as np
    import tensorflow as tf
    import tf_keras as keras

    from vl_keras.data.text_features import TextFeatures


class TextTask(Task):
    """A task whose models read images and texts; see `Task`.

    A subclass also implements `texts`.
    """

    # Texts beside images are the task's input; the task reads no context.
    unused_settings: ClassVar[tuple[str, ...]] = (
        "data.context",
        "data.context_dropout",
        "data.show_context",
        "text.word_vectors.",
        "model.members",
        "training.self_critical.",
        "generation.memory",
        "generation.consensus_weight",
    )

    def texts(self, split: str) -> list[list[str]]:
        """The texts of a split: a list of strings for each image."""
        raise self._lacks("texts")

    @functools.cached_property
    def tokenizer(self) -> Any:
        if self.config.text_encoder.encoder:
            from vl_keras.encoders.hub_tokenizer import HubTokenizer

            return HubTokenizer(self.text_encoder or self._load_text_encoder())
        return super().tokenizer  # type: ignore[attr-defined]  # a cached_property

    def save_vocabularies(self, folder: str | Path) -> None:
        if self.tokenizer.is_learned:
            super().save_vocabularies(folder)

    def load_vocabularies(self, folder: str | Path) -> None:
        if not self.config.text_encoder.encoder:
            super().load_vocabularies(folder)

    def vocabulary_sizes(self) -> list[int]:
        return [self.tokenizer.vocab_size] if self.tokenizer.is_learned else []

    def training_texts(self) -> list[str]:
        return [text for texts in self.texts(self.config.data.train_split) for text in texts]

    @property
    def max_text_length(self) -> int:
        """Number of tokens at which texts are cut."""
        return self.tokenizer.max_length or self.config.text.max_length

    def encode_texts(self, strings: tf.Tensor) -> tf.Tensor:
        """`(P,)` strings to `(P, max_text_length)` int32 ids, in graph."""
        tokenizer = self.tokenizer
        return tokenizer.encode(tokenizer.tidy(strings), self.max_text_length)

    def text_features(self, model: Any, texts: Sequence[str]) -> TextFeatures:
        """`TextFeatures` of a list of texts under the frozen text encoder."""
        from vl_keras.tasks.text_batches import text_features

        return text_features(self, model, texts)

    def _build_text_model(self) -> keras.Model:
        from vl_keras.encoders.text_model import TextModelSettings, build_text_model

        if self.config.text_encoder.encoder:
            return build_text_model(TextModelSettings(hub=self.text_encoder or self._load_text_encoder()))
        model = self.config.model
        return build_text_model(
            TextModelSettings(
                self.tokenizer.vocab_size,
                self.max_text_length,
                model.hidden_dim,
                model.num_heads,
                self.config.text_encoder.num_layers,
                model.intermediate_dim,
                model.dropout,
            )
        )

    def _text_dataset(
        self,
        model: Any,
        label: Callable[..., Any],
        first_step: int,
        num_workers: int,
        worker: int,
        negatives: int = 0,
        neighbours: np.ndarray | None = None,
    ) -> tf.data.Dataset:
        """`text_dataset` of the training split; see `training_batches`."""
        from vl_keras.tasks.text_batches import training_batches

        return training_batches(self, model, label, first_step, num_workers, worker, negatives, neighbours)

    def _image_batches(self, model: Any, split: str) -> Iterator[tuple[dict[str, tf.Tensor], np.ndarray]]:
        """Yields `(inputs, indices)` of a split, in order; see `image_batches`."""
        from vl_keras.tasks.text_batches import image_batches

        return image_batches(self, model, split)

    def _ids(self, texts: Sequence[str]) -> list[np.ndarray]:
        """The ids of each text, without padding."""
        from vl_keras.tasks.text_batches import ids_of_texts

        return ids_of_texts(self, texts)
