"""The serving signatures of tasks that predict something for an image with a text."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import tensorflow as tf

from vl_keras.tasks.serving_signature import ServingSignature

if TYPE_CHECKING:
    from vl_keras.tasks.pairing.text_pair_task import TextPairTask


def text_signatures(task: TextPairTask, model: Any, name: str, text: str) -> dict[str, ServingSignature]:
    """Dict of name -> `ServingSignature`: the one called `name`, which is the default, and `embed_image`.

    Args:
        task: its `outputs` are the outputs of `name`.
        model: what the task built.
        name: name of the default signature, e.g. answer or match.
        text: name of the input beside `image`, e.g. question or text.
    """

    def predict(inputs: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        return task.outputs(model, model.read_images({"image": inputs["image"]}), task.encode_texts(inputs[text]))

    def embed(inputs: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        return {"embedding": tf.cast(model.image_encoder(inputs["image"], training=False)["image_vector"], tf.float32)}

    return {name: ServingSignature(predict, ("image", text)), "embed_image": ServingSignature(embed, ("image",))}


def answer_outputs(answers: tf.Tensor, scores: tf.Tensor, threshold: float) -> dict[str, tf.Tensor]:
    """The outputs of the signature `answer`, in graph.

    Args:
        answers: `(P, C)` strings, the most probable first.
        scores: `(P, C)` float32, their probabilities.
        threshold: an answer with a lower probability is withheld: `answer` is empty.

    Returns:
        Dict: `answer` and `score`, `(P,)`; `answers` and `scores`, `(P, C)`.
    """
    best = tf.where(scores[:, 0] >= threshold, answers[:, 0], "")
    return {"answer": best, "score": scores[:, 0], "answers": answers, "scores": scores}
