"""Ranks the captions that a captioner writes by a memory of captions."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vl_keras.errors import RetrievalError
from vl_keras.tasks.writing.consensus import Consensus

if TYPE_CHECKING:
    from vl_keras.config import GenerationConfig
    from vl_keras.models.captioner import Captioner
    from vl_keras.tasks.captioning import CaptioningTask


def consensus_of(task: CaptioningTask, captioner: Captioner, path: str) -> Consensus:
    """The `Consensus` with the memory in the folder `path`.

    Raises:
        RetrievalError: there is no such memory, or it was made with another image encoder.
    """
    memory = task.memory(path)
    known, own = memory.image_encoder, task.describe_image_encoder(captioner)
    if known != own:
        differ = ", ".join(name for name in own if own[name] != known.get(name))
        raise RetrievalError(
            f"`generation.memory` `{path}` was made with another image encoder; they differ in {differ}. Train "
            "the retrieval run of `vl-keras make-memory` with this run's image_encoder.backbone, "
            "image_encoder.weights and data.image_size, frozen in both."
        )
    try:
        return Consensus(memory, task.tokenizer, task.config.text.max_length)
    except ValueError as error:
        raise RetrievalError(f"`generation.memory` cannot be used by this run: {error}") from error


def check_not_recalled(task: CaptioningTask, split: str, generation: GenerationConfig) -> None:
    """Raises `RetrievalError` if the memory holds captions of a split that is to be evaluated."""
    if not generation.memory:
        return
    source, memory = task.source(split), task.memory(generation.memory)
    own = {(name, text) for name, texts in zip(source.image_ids, source.captions, strict=True) for text in texts}
    known = own.intersection(zip(memory.image_ids, memory.captions, strict=True))
    if known:
        raise RetrievalError(
            f"`generation.memory` `{generation.memory}` holds {len(known)} captions of split `{split}` itself, so "
            "its metrics would be meaningless; leave it out (--set generation.memory=)."
        )
