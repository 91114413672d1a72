"""The base class of tasks that predict something for an image with a text: an answer, a match."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from vl_keras.tasks.task import TextInput
from vl_keras.tasks.text_task import TextTask

if TYPE_CHECKING:
    import tensorflow as tf

    from vl_keras.tasks.serving_signature import ServingSignature


class TextPairTask(TextTask):
    """A task that predicts something for an image with a text; see `TextTask`.

    A subclass also implements `outputs` and `describe`, and sets `signature_name` and, in `inputs`, the text it reads.
    Its model has `read_images` and `image_encoder`.
    """

    signature_name: ClassVar[str] = ""  # name of the default serving signature

    def outputs(self, model: Any, regions: tf.Tensor, text_ids: tf.Tensor) -> dict[str, tf.Tensor]:
        """The outputs of the serving signature for regions `(P, R, D)` and texts `(P, T)`, in graph."""
        raise self._lacks("outputs")

    def describe(self, output: Mapping[str, Any]) -> str:
        """A prediction, one row of `outputs`, in words, for a terminal and for titles."""
        raise self._lacks("describe")

    @property
    def text_input(self) -> TextInput:
        """The text that the task reads beside an image."""
        return self.inputs[0]

    def predictor(self, model: Any, texts: Sequence[str], explains: bool) -> Callable[[tf.Tensor], list]:
        from vl_keras.tasks.pairing.predict_pairs import PairPredictor

        return PairPredictor(self, model, texts, explains)

    def explainer(self, model: Any) -> Any:
        """Explains predictions by the attention weights of each word; see `PairExplainer`."""
        from vl_keras.tasks.pairing.explain_pairs import PairExplainer

        return PairExplainer(self, model)

    def sample_images(self, model: Any, split: str) -> Callable[[], tuple[list, list[str]]] | None:
        from vl_keras.tasks.pairing.sample_pairs import SamplePairs

        return SamplePairs(self, model, split)

    def serving_signatures(self, model: Any) -> dict[str, ServingSignature]:
        from vl_keras.tasks.text_signatures import text_signatures

        return text_signatures(self, model, self.signature_name, self.text_input.name)
