"""The serving signatures of tasks that say something of an image and a text."""

import tensorflow as tf

from vl_keras.tasks.serving_signature import ServingSignature


def text_signatures(task, model, name, text):
    """Dict of name -> `ServingSignature`: `name`, the default, and `embed_image`.

    Args:
        task: its `say(model, regions, text_ids)` gives the outputs of `name`; its `encode_texts` is used.
        model: its `read_images` and `image_encoder` are used.
        name: answer or match.
        text: the input beside `image`: question or text.
    """

    def say(inputs):
        return task.say(model, model.read_images({"image": inputs["image"]}), task.encode_texts(inputs[text]))

    def embed(inputs):
        return {"embedding": tf.cast(model.image_encoder(inputs["image"], training=False)["image_vector"], tf.float32)}

    return {name: ServingSignature(say, ("image", text)), "embed_image": ServingSignature(embed, ("image",))}


def said_answers(answers, scores, threshold):
    """The outputs of `answer`: of `(P, C)` answers and probabilities, the most probable first, in graph."""
    best = tf.where(scores[:, 0] >= threshold, answers[:, 0], "")
    return {"answer": best, "score": scores[:, 0], "answers": answers, "scores": scores}
