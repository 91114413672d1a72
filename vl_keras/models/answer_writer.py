"""A model that writes the answer to a question about an image, word by word."""

from typing import NamedTuple

import tensorflow as tf
import tf_keras as keras

from vl_keras.models.captioner import Captioner, build_captioner


class AnswerWriter(NamedTuple):
    """The models of one writer of answers; they share their layers.

    Attributes:
        training_model: images, K questions of each, and the answers' tokens before each place, to next-token logits
            `(B, K, L, V)`. Inputs: `image` `(B, height, width, 3)`, 0 to 255, or `image_tokens` `(B, R, Dv)`;
            `text_ids` `(B, K, T)` int32; `answer_ids` `(B, K, L)` int32.
        text_encoder: `text_ids` `(P, T)` to `(P, T, Dt)`.
        captioner: the `Captioner` whose context is the question: P images, one question each.
    """

    training_model: keras.Model
    text_encoder: keras.Model
    captioner: Captioner

    @property
    def image_encoder(self):
        return self.captioner.image_encoder

    def read_images(self, inputs):
        """`image` or `image_tokens` of a dict, to image tokens `(B, R, Dv)`."""
        if "image_tokens" in inputs:
            return inputs["image_tokens"]
        return self.image_encoder(inputs["image"], training=False)["image_tokens"]

    def write(self, image_tokens, text_ids, **settings):
        """`Generated` for P images, a question each, `(P, R, Dv)` and `(P, T)`; settings as of `generate`."""
        return self.captioner.generate(_question(image_tokens, text_ids), **settings)


def build_answer_writer(image_encoder, text_encoder, vocab_size, *, from_image_tokens=False, **settings):
    """Builds a writer of answers around two encoders.

    Args:
        image_encoder: keras.Model, `(B, height, width, 3)` to `{"image_tokens": (B, R, Dv), …}`.
        text_encoder: keras.Model, `text_ids` `(P, T)` to `(P, T, Dt)`.
        vocab_size: V, of the answers.
        from_image_tokens: the training model takes `image_tokens` from a feature cache in place of `image`.
        **settings: those of `build_captioner`'s decoder and image reader.

    Returns:
        `AnswerWriter`.
    """
    mask = keras.Input((None,), dtype="int32", name="input_mask")
    question = keras.Model(
        {"text_ids": text_encoder.input, "input_mask": mask},
        {"text_tokens": text_encoder.output},
        name="question_reader",
    )
    captioner = build_captioner(
        image_encoder, vocab_size, text_encoder=question, from_image_tokens=from_image_tokens, **settings
    )
    image_name = "image_tokens" if from_image_tokens else "image"
    inputs = {
        image_name: keras.Input(
            captioner.reader.input["image_tokens"].shape[1:] if from_image_tokens else image_encoder.input_shape[1:],
            name=image_name,
        ),
        "text_ids": keras.Input((None, None), dtype="int32", name="text_ids"),
        "answer_ids": keras.Input((None, None), dtype="int32", name="answer_ids"),
    }
    tokens = inputs[image_name] if from_image_tokens else image_encoder(inputs[image_name])["image_tokens"]
    images, texts, length = tf.unstack(tf.shape(inputs["text_ids"]))
    ids = tf.reshape(inputs["text_ids"], (images * texts, length))
    memory = captioner.reader(_question(tf.repeat(tokens, texts, axis=0), ids))
    answers = tf.reshape(inputs["answer_ids"], (images * texts, 1, tf.shape(inputs["answer_ids"])[2]))
    logits = captioner.decoder.model([answers, memory["memory"], memory["memory_mask"]])
    logits = tf.reshape(logits, (images, texts, tf.shape(answers)[2], vocab_size))
    training_model = keras.Model(inputs, logits, name="answer_writer")
    return AnswerWriter(training_model, text_encoder, captioner)


def _question(image_tokens, text_ids):
    """The inputs of a captioner's reader whose context is a question."""
    return {"image_tokens": image_tokens, "text_ids": text_ids, "input_mask": tf.cast(text_ids != 0, tf.int32)}
