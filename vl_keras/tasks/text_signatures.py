"""The serving signatures of tasks that predict something for an image with a text."""

import tensorflow as tf

from vl_keras.tasks.serving_signature import ServingSignature


def text_signatures(task, model, name, text):
    """Dict of name -> `ServingSignature`: `name`, the default, and `embed_image`.

    Args:
        task: its `outputs(model, regions, text_ids)` are those of `name`; its `encode_texts` is used.
        model: its `read_images` and `image_encoder` are used.
        name: answer or match.
        text: the input beside `image`: question or text.
    """

    def predict(inputs):
        return task.outputs(model, model.read_images({"image": inputs["image"]}), task.encode_texts(inputs[text]))

    def embed(inputs):
        return {"embedding": tf.cast(model.image_encoder(inputs["image"], training=False)["image_vector"], tf.float32)}

    return {name: ServingSignature(predict, ("image", text)), "embed_image": ServingSignature(embed, ("image",))}


def answer_outputs(answers, scores, threshold):
    """The outputs of `answer`: of `(P, C)` answers and probabilities, the most probable first, in graph."""
    best = tf.where(scores[:, 0] >= threshold, answers[:, 0], "")
    return {"answer": best, "score": scores[:, 0], "answers": answers, "scores": scores}
