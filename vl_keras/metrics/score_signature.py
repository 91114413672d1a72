"""The conditions under which a score was computed: stored with it, so that only comparable scores are compared."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any


@dataclasses.dataclass(frozen=True)
class ScoreSignature:
    """Data and settings with which a score was computed.

    Args:
        dataset: name of the data.
        split: name of the split.
        images: number of images scored.
        references: number of references per image, e.g. "5", or its range, e.g. "4-5".
        tokenizer: ptb or character.
        generation: decoding settings, e.g. "beam 3, length penalty 0.7".
        weights: the model's weights: last, best or ema; empty if no model wrote the captions.
        image_size: size at which the model read images, e.g. "288x288" (height, width); empty without a model.
        context: the context that the model read with the image, e.g. "caption words"; empty for a model without one.
    """

    dataset: str
    split: str
    images: int
    references: str
    tokenizer: str
    generation: str
    weights: str = ""
    image_size: str = ""
    context: str = ""

    @classmethod
    def of(cls, references: Mapping[str, Sequence[str]], tokenizer: str, **rest: Any) -> "ScoreSignature":
        """Builds the signature of scores against `references`, a dict of image id to captions.

        Args:
            references: image id to reference captions.
            tokenizer: ptb or character.
            rest: the other attributes.
        """
        counts = {len(captions) for captions in references.values()} or {0}
        number = str(min(counts)) if len(counts) == 1 else f"{min(counts)}-{max(counts)}"
        return cls(images=len(references), references=number, tokenizer=tokenizer, **rest)

    def __str__(self) -> str:
        where = f"{self.dataset} {self.split}" + (f" at {self.image_size}" if self.image_size else "")
        parts = [where, f"{self.images} images", f"{self.references} references"]
        parts += [f"{self.tokenizer} tokens", self.context and f"context {self.context}", self.generation]
        parts += [self.weights and f"{self.weights} weights"]
        return ", ".join(part for part in parts if part)

    def as_dict(self) -> dict[str, Any]:
        """The signature as a dict for JSON."""
        return dataclasses.asdict(self)
