"""What a score was measured with: stored beside it, so that two scores are compared only where they may be."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class ScoreSignature:
    """Where and how a score was measured.

    Args:
        dataset: name of the data.
        split: its split.
        images: number of images scored.
        references: number of references per image, "5", or the range where it varies, "4-5".
        tokenizer: ptb or character.
        generation: how the captions were written, e.g. "beam 3, length penalty 0.7".
        weights: which weights wrote them: last, best or ema; empty where no model did.
        image_size: that images were read at, "288x288" (height, width); empty where no model read them.
        context: what was shown beside the image, e.g. "caption words"; empty where nothing could be.
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
    def of(cls, references, tokenizer, **rest):
        """The signature of scores against `references`, a dict of image id to captions; `rest`: as above."""
        counts = {len(captions) for captions in references.values()} or {0}
        number = str(min(counts)) if len(counts) == 1 else f"{min(counts)}-{max(counts)}"
        return cls(images=len(references), references=number, tokenizer=tokenizer, **rest)

    def __str__(self):
        where = f"{self.dataset} {self.split}" + (f" at {self.image_size}" if self.image_size else "")
        parts = [where, f"{self.images} images", f"{self.references} references"]
        parts += [f"{self.tokenizer} tokens", self.context and f"context {self.context}", self.generation]
        parts += [self.weights and f"{self.weights} weights"]
        return ", ".join(part for part in parts if part)

    def as_dict(self):
        """A dict for JSON."""
        return dataclasses.asdict(self)
