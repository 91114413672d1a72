"""The serving signatures of retrieval."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vl_keras.tasks.serving_signature import ServingSignature

if TYPE_CHECKING:
    import tensorflow as tf

    from vl_keras.models.dual_encoder import DualEncoder
    from vl_keras.tasks.retrieval import RetrievalTask


def retrieval_signatures(task: RetrievalTask, model: DualEncoder) -> dict[str, ServingSignature]:
    """Dict of name -> `ServingSignature`: `embed_image`, the default, and `embed_text`.

    Both return `embedding` `(B, E)`, L2-normalised: the inner product of the vectors of an image and a text is their
    similarity.
    """

    def embed_image(inputs: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        return {"embedding": task.embed_images(model, inputs["image"])}

    def embed_text(inputs: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        return {"embedding": task.embed_texts(model, inputs["text"])}

    return {
        "embed_image": ServingSignature(embed_image, ("image",)),
        "embed_text": ServingSignature(embed_text, ("text",)),
    }
