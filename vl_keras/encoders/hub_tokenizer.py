"""The tokenizer of a TensorFlow Hub BERT, in the form that the pipeline asks of tokenizers."""

import tensorflow as tf

from vl_keras.encoders.text_encoder import TextEncoder


class HubTokenizer:
    """Strings to the ids that a hub BERT reads, its start and end tokens included.

    Args:
        text_encoder: `TextEncoder`.
    """

    PAD = 0
    is_learned = False

    def __init__(self, text_encoder: TextEncoder) -> None:
        self.max_length = text_encoder.max_length
        self._preprocessor = text_encoder.preprocessor
        # The packed form of a text tells the ids of its start and end tokens, which modules do not name alike.
        with tf.init_scope():  # the first to ask for it may be a graph that is being built
            packed = text_encoder.preprocess(["a"])["input_word_ids"][0].numpy()
        self.START = int(packed[0])
        self.END = int(packed[packed != self.PAD][-1])

    @staticmethod
    def tidy(strings: tf.Tensor) -> tf.Tensor:
        """Broken UTF-8 becomes U+FFFD; case and punctuation are the module's affair."""
        return tf.strings.unicode_transcode(tf.convert_to_tensor(strings, tf.string), "UTF-8", "UTF-8")

    def tokenize(self, strings: tf.Tensor) -> tf.RaggedTensor:
        """`(B,)` strings -> `(B, None)` ragged int32 ids after the start token; without the end token."""
        pieces = self._preprocessor.tokenize(strings)
        pieces = pieces.merge_dims(1, -1) if pieces.shape.rank == 3 else pieces
        start = tf.fill([pieces.nrows(), 1], self.START)
        return tf.concat([tf.RaggedTensor.from_tensor(start), tf.cast(pieces, tf.int32)], axis=1)

    def encode(self, strings: tf.Tensor, max_length: int) -> tf.Tensor:
        """`(B,)` strings -> `(B, max_length)` int32: start, ids, end, padding; a text is cut so that the end fits."""
        ids = self.tokenize(self.tidy(strings))[:, : max_length - 1]
        end = tf.fill([ids.nrows(), 1], self.END)
        return tf.concat([ids, tf.RaggedTensor.from_tensor(end)], axis=1).to_tensor(self.PAD, shape=[None, max_length])
