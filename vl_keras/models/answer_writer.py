"""A model that writes the answer to a question about an image, word by word."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import tensorflow as tf
import tf_keras as keras

from vl_keras.decoders.generation import Generated
from vl_keras.models.captioner import Captioner, build_captioner
from vl_keras.models.token_reader import MaskedTokens, image_model_inputs, image_tokens


class AnswerWriter(NamedTuple):
    """The models of one writer of answers; they share their layers.

    Attributes:
        training_model: images, K questions of each, and the answers' tokens before each place, to next-token logits
            `(B, K, L, V)`. Inputs: `image` `(B, height, width, 3)`, 0 to 255, or `image_tokens` `(B, R, Dv)` and
            `image_mask` `(B, R)` bool; `text_ids` `(B, K, T)` int32; `answer_ids` `(B, K, L)` int32.
        text_encoder: `text_ids` `(P, T)` to `text_tokens` `(P, T, Dt)` and `text_mask` `(P, T)`.
        captioner: the `Captioner` whose context is the question: P images, one question each.
    """

    training_model: keras.Model
    text_encoder: keras.Model
    captioner: Captioner

    @property
    def image_encoder(self) -> keras.Model:
        """`image` to `image_tokens`, `image_mask` and `image_vector`."""
        return self.captioner.image_encoder

    def read_images(self, inputs: Mapping[str, tf.Tensor]) -> MaskedTokens:
        """The image tokens `(B, R, Dv)` of a batch; inputs as of `models.token_reader.image_tokens`."""
        return image_tokens(self.image_encoder, inputs)

    def write(self, image: MaskedTokens, text_ids: tf.Tensor, **settings: Any) -> Generated:
        """Writes an answer to each of P questions `(P, T)`, one about each of P images; settings as of `generate`."""
        return self.captioner.generate(_question(image, text_ids), **settings)


def build_answer_writer(
    image_encoder: keras.Model,
    text_encoder: keras.Model,
    vocab_size: int,
    *,
    from_image_tokens: bool = False,
    **settings: Any,
) -> AnswerWriter:
    """Builds a writer of answers around two encoders.

    Args:
        image_encoder: as of `build_image_encoder`.
        text_encoder: as of `build_text_model`.
        vocab_size: V, of the answers.
        from_image_tokens: the training model takes `image_tokens` and `image_mask` from a feature cache, in place of
            `image`.
        **settings: those of `build_captioner`'s decoder and image reader.

    Returns:
        `AnswerWriter`.
    """
    question = keras.Model({"text_ids": text_encoder.input}, text_encoder.output, name="question_reader")
    captioner = build_captioner(
        image_encoder, vocab_size, text_encoder=question, from_image_tokens=from_image_tokens, **settings
    )
    inputs, image = image_model_inputs(image_encoder, from_image_tokens)
    inputs |= {
        "text_ids": keras.Input((None, None), dtype="int32", name="text_ids"),
        "answer_ids": keras.Input((None, None), dtype="int32", name="answer_ids"),
    }
    images, texts, length = tf.unstack(tf.shape(inputs["text_ids"]))
    ids = tf.reshape(inputs["text_ids"], (images * texts, length))
    memory = captioner.reader(_question(image.repeated(texts), ids))
    answers = tf.reshape(inputs["answer_ids"], (images * texts, 1, tf.shape(inputs["answer_ids"])[2]))
    logits = captioner.decoder.model([answers, memory["memory"], memory["memory_mask"]])
    logits = tf.reshape(logits, (images, texts, tf.shape(answers)[2], vocab_size))
    training_model = keras.Model(inputs, logits, name="answer_writer")
    return AnswerWriter(training_model, text_encoder, captioner)


def _question(image: MaskedTokens, text_ids: tf.Tensor) -> dict[str, tf.Tensor]:
    """The inputs of a captioner's reader whose context is a question."""
    return {"image_tokens": image.tokens, "image_mask": image.mask, "text_ids": text_ids}
