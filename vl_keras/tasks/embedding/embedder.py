"""Vectors of a split's images and captions from a trained dual encoder."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np
import tensorflow as tf

from vl_keras.encoders.encoder_fingerprint import encoder_fingerprint
from vl_keras.retrieval.caption_memory import CaptionMemory

if TYPE_CHECKING:
    from vl_keras.models.dual_encoder import DualEncoder
    from vl_keras.tasks.retrieval import RetrievalTask

_TEXTS_AT_ONCE = 128
# Settings that the image head of a dual encoder is built from, besides its widths.
_HEAD_SETTINGS = ("hidden_dim", "num_heads", "image_layers", "intermediate_dim", "dropout", "image_dropout")


class Embedder:
    """Embeds images and captions of splits with a dual encoder; its graphs are built once.

    Args:
        task: `RetrievalTask`.
        model: its `DualEncoder`.
    """

    def __init__(self, task: RetrievalTask, model: DualEncoder) -> None:
        self.model = model
        self._task = task
        self._embed_images, self._embed_texts = (
            tf.function(function, reduce_retracing=True, autograph=False)
            for function in (model.embed_images, model.embed_texts)
        )

    def embed_split(
        self,
        split: str,
        limit: int = 0,
        progress: Callable[[int], None] | None = None,
        captions_each: int | None = None,
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Vectors of a split's images and captions; see `RetrievalTask.embed_split`."""
        source = self._task.source(split)
        count = min(limit or len(source), len(source))
        vectors, done = [], 0
        for inputs, indices in self._task._image_batches(self.model, split):
            if done >= count:
                break
            vectors.append(self._embed_images(inputs).numpy())
            done += len(indices)
            if progress is not None:
                progress(min(done, count))
        image = np.concatenate(vectors)[:count]
        kept = [i for i in range(count) if source.image_ids[i] not in source.quarantine and source.captions[i]]
        captions = [source.captions[index][:captions_each] for index in kept]
        owner = np.repeat(np.arange(len(kept)), [len(own) for own in captions])
        captions = [caption for own in captions for caption in own]
        return image[kept], self.embed_captions(captions), owner, np.array(kept)

    def embed_captions(self, captions: Sequence[str], progress: Callable[[int], None] | None = None) -> np.ndarray:
        """Vectors of many texts, `(M, E)` float32, L2-normalised, each padded only to the longest of its batch.

        Args:
            captions: M strings.
            progress: called with the number of texts that are done.
        """
        ids = self._task._ids(captions)
        lengths = np.array([len(text) for text in ids])
        text = np.zeros((len(captions), self._task.settings.embedding_dim), np.float32)
        order = np.argsort(lengths, kind="stable")
        for start in range(0, len(order), _TEXTS_AT_ONCE):
            chosen = order[start : start + _TEXTS_AT_ONCE]
            padded = np.zeros((len(chosen), max(int(lengths[chosen].max()), 1)), np.int32)
            for row, number in enumerate(chosen):
                padded[row, : lengths[number]] = ids[number]
            text[chosen] = self._embed_texts(tf.constant(padded)).numpy()
            if progress is not None:
                progress(start + len(chosen))
        return text


def caption_memory(
    task: RetrievalTask, model: DualEncoder, progress: Callable[[int], None] | None = None
) -> CaptionMemory:
    """`CaptionMemory` of the training split's captions.

    Args:
        task: supplies the data and the settings.
        model: its trained model.
        progress: called with the number of captions that are done.
    """
    source = task.source(task.config.data.train_split)
    rows = [
        (name, caption)
        for name, captions in zip(source.image_ids, source.captions, strict=True)
        for caption in captions
        if caption.strip()
    ]
    image_ids, captions = map(list, zip(*rows, strict=True))
    settings = {name: getattr(task.config.model, name) for name in _HEAD_SETTINGS}
    width = model.image_encoder.output_shape["image_tokens"][-1]
    return CaptionMemory(
        image_ids,
        captions,
        task.embed_captions(model, captions, progress),
        task.similarity_scale(model),
        task.describe_image_encoder(model),
        {"image_width": width, "embedding_dim": task.settings.embedding_dim, **settings},
        model.image_head.get_weights(),
    )


def model_fingerprint(task: RetrievalTask, model: DualEncoder) -> str:
    """64 hexadecimal digits that change with anything that the vectors depend on."""
    digest = hashlib.sha256(encoder_fingerprint(model.image_encoder).encode())
    tokens = task.tokenizer.vocab if task.tokenizer.is_learned else task._ids(["a quick brown fox's 12 tails"])
    digest.update(repr((tokens, task.config.data.image_size, task.max_text_length)).encode())
    for name, part in task.parts(model).items():
        if name != "image_encoder":
            for weight in part.weights:
                digest.update(weight.numpy().tobytes())
    return digest.hexdigest()
