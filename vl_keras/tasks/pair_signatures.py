"""The serving signatures of question answering and of matching."""

import tensorflow as tf

from vl_keras.tasks.serving_signature import ServingSignature

_CANDIDATES = 5  # most answers that are listed with their probabilities


def answer_signatures(task, model):
    """Dict of name -> `ServingSignature`: `answer`, the default, and `embed_image`.

    `answer`: `image`, `question` to the best `answer` (empty where its confidence is below the task's threshold) and
    its `score`, the calibrated probability; `answers` and `scores` `(B, C)`, the C most probable ones.
    """

    def answer(inputs):
        return answers_of_logits(task, _logits(task, model, inputs["image"], inputs["question"]))

    return {"answer": ServingSignature(answer, ("image", "question")), **_embed_image(model)}


def match_signatures(task, model):
    """Dict of name -> `ServingSignature`: `match`, the default, and `embed_image`.

    `match`: `image`, `text` to the `probability` that they match.
    """

    def match(inputs):
        return match_of_logits(task, _logits(task, model, inputs["image"], inputs["text"]))

    return {"match": ServingSignature(match, ("image", "text")), **_embed_image(model)}


def answers_of_logits(task, logits):
    """The outputs of `answer`, of logits `(B, A)`, in graph."""
    scores, places = tf.math.top_k(tf.nn.softmax(logits / task.temperature), min(_CANDIDATES, task.num_outputs))
    answers = tf.gather(tf.constant(task.answers), places)
    best = tf.where(scores[:, 0] >= task.threshold, answers[:, 0], "")
    return {"answer": best, "score": scores[:, 0], "answers": answers, "scores": scores}


def match_of_logits(task, logits):
    """The outputs of `match`, of logits `(B, 1)`, in graph."""
    return {"probability": tf.sigmoid(logits[:, 0])}


def _logits(task, model, image, texts):
    return model.answer(model.read_images({"image": image}), task.encode_texts(texts))["logits"]


def _embed_image(model):
    def embed(inputs):
        return {"embedding": tf.cast(model.image_encoder(inputs["image"], training=False)["image_vector"], tf.float32)}

    return {"embed_image": ServingSignature(embed, ("image",))}
