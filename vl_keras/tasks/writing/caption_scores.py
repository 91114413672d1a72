"""Writes the captions of a split and scores them."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

from vl_keras.config import GenerationConfig
from vl_keras.data.pipeline import evaluation_batches, references
from vl_keras.metrics.caption_scores import CaptionScores, score_captions
from vl_keras.metrics.score_signature import ScoreSignature
from vl_keras.tasks.described import describe_data, describe_generation

if TYPE_CHECKING:
    import tensorflow as tf

    from vl_keras.models.captioner import Captioner
    from vl_keras.tasks.captioning import CaptioningTask


class Caption(NamedTuple):
    """The prediction for one image.

    Attributes:
        image_id: name of the image.
        caption: the best caption.
        score: its length-normalised log-probability; with `generation.memory` plus its weighted consensus.
        captions: all `generation.num_captions` captions, best first.
        references: human captions that it is scored against.
        context: text that the model read beside the image.
        index: place of the image in the source.
    """

    image_id: str
    caption: str
    score: float
    captions: list[str]
    references: list[str]
    context: str
    index: int


def evaluation_data(task: CaptioningTask, captioner: Captioner, split: str, batch_size: int) -> tf.data.Dataset:
    """Dataset of `(x, indices)`: every image of a split once, in order."""
    return evaluation_batches(
        task.config,
        task.source(split),
        features=task.features(captioner, split),
        prepare_context=task.prepare_context,
        batch_size=batch_size,
    )


def caption_split(
    task: CaptioningTask,
    captioner: Captioner,
    split: str,
    generation: GenerationConfig | None = None,
    limit: int = 0,
    progress: Callable[[int], None] | None = None,
) -> list[Caption]:
    """Writes a caption for each image of a split; see `CaptioningTask.caption_split`."""
    source = task.source(split)
    count = min(limit, len(source)) if limit else len(source)
    batches = task.evaluation_data(captioner, split)
    rows = task.writer(captioner, generation).write_all(batches, count, progress)
    known, contexts = references(task.config, source)
    captions = []
    for index, texts, scores in rows:
        name = source.image_ids[index]
        if name in source.quarantine:
            continue
        captions.append(Caption(name, texts[0], float(scores[0]), texts, known[name], contexts[index], index))
    return captions


def score_split(
    task: CaptioningTask,
    captioner: Captioner,
    split: str,
    generation: GenerationConfig | None = None,
    limit: int = 0,
    progress: Callable[[int], None] | None = None,
    with_java: bool = False,
) -> tuple[CaptionScores, list[Caption]]:
    """`CaptionScores` of the captions written for a split, and the `Caption`s; arguments as of `caption_split`."""
    task.check_not_recalled(split, generation or task.config.generation)
    captions = caption_split(task, captioner, split, generation, limit, progress)
    scored = [caption for caption in captions if caption.references]
    scores = score_captions(
        {caption.image_id: caption.references for caption in scored},
        {caption.image_id: caption.caption for caption in scored},
        with_java=with_java,
    )
    return scores, captions


def captions_signature(
    task: CaptioningTask, captions: list[Caption], scores: CaptionScores, split: str, weights: str
) -> ScoreSignature:
    """`ScoreSignature` of what `score_split` returned.

    Args:
        task, captions, scores, split: arguments and results of `score_split`.
        weights: which weights wrote the captions, in a word.
    """
    data, generation = task.config.data, task.config.generation
    context = "" if data.context == "none" else data.context.replace("_", " ")
    if context and not data.show_context:
        context += " shown empty"
    described = describe_generation(generation)
    if generation.memory:
        described += f" {task.memory(generation.memory).fingerprint}"
    facts: dict[str, Any] = describe_data(data, split)
    return ScoreSignature.of(
        {caption.image_id: caption.references for caption in captions if caption.references},
        scores.tokenizer,
        **facts,
        context=context,
        generation=described,
        weights=weights,
    )
