"""Explains written answers by the attention weights of each word."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import tensorflow as tf

from vl_keras.encoders.token_layout import token_layout
from vl_keras.tasks.writing.explain_captions import Explanation, by_word, words_of_tokens
from vl_keras.tasks.writing.settings import writing_settings

if TYPE_CHECKING:
    from vl_keras.models.answer_writer import AnswerWriter
    from vl_keras.tasks.free_form_vqa import FreeFormVqaTask


class AnswerExplainer:
    """Returns the attention weights of each word of a written answer; has the interface of `PairExplainer`.

    Args:
        task: a `FreeFormVqaTask`.
        model: its `AnswerWriter`.
    """

    note = "the words are those of the written answer"

    def __init__(self, task: FreeFormVqaTask, model: AnswerWriter) -> None:
        self._task = task
        self._layout = token_layout(model.image_encoder, task.config.data.image_size)
        settings = {**writing_settings(task.config.generation), "num_captions": 1, "return_attention": True}

        @tf.function(reduce_retracing=True)
        def write(image: tf.Tensor, ids: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            written: Any = model.write(model.read_images({"image": image}), ids, **settings)
            return written.tokens[0, 0], written.attention[0, 0]

        self._write = write

    def __call__(self, image: tf.Tensor, text: str, prediction: str, caption: str) -> Explanation:
        """Explains the answer to a question `text` about an image `(1, height, width, 3)`; see `PairExplainer`."""
        tokenizer = self._task.answer_tokenizer
        tokens, attention = (value.numpy() for value in self._write(image, self._task.encode_texts([text])))
        tokens = tokens[tokens > tokenizer.END]
        words, places = words_of_tokens(tokenizer, tokens)
        if not self._layout.is_grid:
            return Explanation(caption, words, None)
        return Explanation(caption, words, by_word(self._layout.arrange(attention), places))
