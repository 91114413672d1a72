"""Token embeddings that also score the vocabulary."""

import tensorflow as tf
import tf_keras as keras


@keras.saving.register_keras_serializable("vl_keras")
class TokenEmbedding(keras.layers.Layer):
    """Word vectors, with the output layer tied to them (Press and Wolf, 2017, section 3).

    Args:
        vocab_size: V.
        hidden_dim: D.
        max_length: positions with a learned vector of their own; zero: positions are not marked (LSTM).
        word_dropout: chance in training that a word other than the first is hidden, as the unknown token (Bowman et
            al., 2016, section 3.1), so that the decoder leans on the image.
        unknown_id: id of the unknown token.

    Args of call:
        ids: `(…, L)` int.

    Returns:
        `(…, L, hidden_dim)`.
    """

    def __init__(self, vocab_size, hidden_dim, max_length=0, word_dropout=0.0, unknown_id=1, **kwargs):
        super().__init__(**kwargs)
        self.vocab_size = vocab_size
        self.hidden_dim = hidden_dim
        self.max_length = max_length
        self.word_dropout = word_dropout
        self.unknown_id = unknown_id
        self._hide = keras.layers.Dropout(word_dropout, dtype="float32")

    def build(self, input_shape):
        normal = keras.initializers.TruncatedNormal(stddev=self.hidden_dim**-0.5)
        self.embeddings = self.add_weight("embeddings", (self.vocab_size, self.hidden_dim), initializer=normal)
        self.bias = self.add_weight("bias", (self.vocab_size,), initializer="zeros")
        self.positions = None
        if self.max_length:
            small = keras.initializers.TruncatedNormal(stddev=0.02)
            self.positions = self.add_weight("positions", (self.max_length, self.hidden_dim), initializer=small)
        super().build(input_shape)

    def call(self, ids, training=None):
        if self.word_dropout:
            kept = self._hide(tf.ones(tf.shape(ids)), training=training) > 0
            first = tf.range(tf.shape(ids)[-1]) == 0
            ids = tf.where(kept | first, ids, self.unknown_id)
        tokens = self._scaled(ids)
        if self.max_length:
            tokens += tf.cast(self.positions[: tf.shape(ids)[-1]], tokens.dtype)
        return tokens

    def step(self, ids, position):
        """Embeds ids `(…)` that all stand at `position` (scalar int32): `(…, hidden_dim)`."""
        tokens = self._scaled(ids)
        if not self.max_length:
            return tokens
        return tokens + tf.cast(tf.gather(tf.convert_to_tensor(self.positions), position), tokens.dtype)

    def logits(self, tokens, more_bias=None):
        """Scores of the whole vocabulary, float32: `(…, hidden_dim)` to `(…, V)`; `more_bias`, `(V,)`, is added."""
        scores = tf.matmul(
            tf.reshape(tokens, (-1, self.hidden_dim)), tf.cast(self.embeddings, tokens.dtype), transpose_b=True
        )
        bias = tf.cast(self.bias, tf.float32)
        scores = tf.cast(scores, tf.float32) + (bias if more_bias is None else bias + more_bias)
        return tf.reshape(scores, tf.concat([tf.shape(tokens)[:-1], [self.vocab_size]], 0))

    def _scaled(self, ids):
        # Vaswani et al. (2017), section 3.4: tied embeddings are small, so they are scaled up as inputs.
        # The table is read as a tensor: gathering from the variable itself would copy all of it, at every step.
        table = tf.convert_to_tensor(self.embeddings)
        return tf.cast(tf.gather(table, ids) * self.hidden_dim**0.5, self.compute_dtype)

    def get_config(self):
        return {
            **super().get_config(),
            "vocab_size": self.vocab_size,
            "hidden_dim": self.hidden_dim,
            "max_length": self.max_length,
            "word_dropout": self.word_dropout,
            "unknown_id": self.unknown_id,
        }


@keras.saving.register_keras_serializable("vl_keras")
class TiedLogits(keras.layers.Layer):
    """The output side of a `TokenEmbedding`, as a layer of a functional model: `(…, D)` to `(…, V)` float32."""

    def __init__(self, embedding, **kwargs):
        super().__init__(**kwargs)
        self.embedding = embedding

    def call(self, tokens):
        return self.embedding.logits(tokens)

    def get_config(self):
        return {**super().get_config(), "embedding": keras.saving.serialize_keras_object(self.embedding)}

    @classmethod
    def from_config(cls, config):
        return cls(**{**config, "embedding": keras.saving.deserialize_keras_object(config["embedding"])})
