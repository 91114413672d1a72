"""Where a writer of answers looked in the image for each word of its answer."""

import tensorflow as tf

from vl_keras.encoders.token_layout import token_layout
from vl_keras.tasks.captioning import writing_settings
from vl_keras.tasks.writing.explain_captions import Explanation, by_word, words_of_tokens


class AnswerExplainer:
    """Says where each word of a written answer looked; used as `PairExplainer` is.

    Args:
        task: a `FreeFormVqaTask`.
        model: its `AnswerWriter`.
    """

    note = "bright: where the answer's word looked\ncross: the peak"

    def __init__(self, task, model):
        self._task = task
        self._layout = token_layout(model.image_encoder, task.config.data.image_size)
        settings = {**writing_settings(task.config.generation), "num_captions": 1, "return_attention": True}

        @tf.function(reduce_retracing=True)
        def write(image, ids):
            written = model.write(model.read_images({"image": image}), ids, **settings)
            return written.tokens[0, 0], written.attention[0, 0]

        self._write = write

    def __call__(self, image, text, said, caption):
        """`Explanation` of what is written to a question `text` about an image `(1, height, width, 3)`."""
        tokenizer = self._task.answer_tokenizer
        tokens, attention = (value.numpy() for value in self._write(image, self._task.encode_texts([text])))
        tokens = tokens[tokens > tokenizer.END]
        words, places = words_of_tokens(tokenizer, tokens)
        if not self._layout.is_grid:
            return Explanation(caption, words, None)
        return Explanation(caption, words, by_word(self._layout.arrange(attention), places))
