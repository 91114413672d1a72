"""The base class of tasks that classify image-text pairs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from vl_keras.tasks.pairing.text_pair_task import TextPairTask

if TYPE_CHECKING:
    import numpy as np
    import tf_keras as keras

    from vl_keras.models.pair_classifier import PairClassifier

_MODEL_SETTINGS = (
    "fusion",
    "reads",
    "hidden_dim",
    "num_heads",
    "num_layers",
    "image_layers",
    "intermediate_dim",
    "dropout",
    "image_dropout",
)


class PairTask(TextPairTask):
    """A task that a `PairClassifier` does; see `TextPairTask`.

    A subclass may override `num_outputs` and `all_pairs`.
    """

    unused_settings = (*TextPairTask.unused_settings, "model.decoder", "model.word_dropout", "generation.")

    @property
    def num_outputs(self) -> int:
        """A, the number of the logits of a pair."""
        return 1

    @property
    def all_pairs(self) -> bool:
        """Whether the training model pairs every text of a batch with every image."""
        return False

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._logits: Any = None

    def build(self) -> PairClassifier:
        """A `PairClassifier` with fresh weights, under the current strategy and precision policy."""
        from vl_keras.models.pair_classifier import build_pair_classifier

        config = self.config
        return build_pair_classifier(
            self._build_image_encoder(),
            self._build_text_model(),
            self.num_outputs,
            from_image_tokens=config.image_encoder.cache_features,
            from_text_tokens=config.text_encoder.cache_features,
            all_pairs=self.all_pairs,
            **{name: getattr(config.model, name) for name in _MODEL_SETTINGS},
        )

    def parts(self, model: PairClassifier) -> dict[str, keras.Model]:
        return model.parts()

    def pair_logits(
        self,
        model: PairClassifier,
        split: str,
        owners: Sequence[int],
        texts: Sequence[str],
        progress: Callable[[int], None] | None = None,
    ) -> np.ndarray:
        """Logits `(P, A)` of pairs of a split's images with texts; see `PairLogits`."""
        from vl_keras.tasks.pairing.pair_logits import PairLogits

        if self._logits is None or self._logits.model is not model:
            self._logits = PairLogits(self, model)
        return self._logits(split, owners, texts, progress)
