"""Token embeddings that also score the vocabulary."""

from typing import Any

import tensorflow as tf
import tf_keras as keras


@keras.saving.register_keras_serializable("vl_keras")
class TokenEmbedding(keras.layers.Layer):
    """Token embeddings with an output layer that shares their weights (Press and Wolf, 2017, section 3).

    Args:
        vocab_size: V.
        hidden_dim: D.
        max_length: number of positions with a learned vector; 0: no position embedding (for an LSTM).
        word_dropout: probability in training that a token, the first excepted, is replaced by the unknown token
            (Bowman et al., 2016, section 3.1), so that the decoder relies on the image.
        unknown_id: id of the unknown token.

    Args of call:
        ids: `(…, L)` int.
        training: whether `word_dropout` applies.

    Returns:
        `(…, L, hidden_dim)`.
    """

    def __init__(
        self,
        vocab_size: int,
        hidden_dim: int,
        max_length: int = 0,
        word_dropout: float = 0.0,
        unknown_id: int = 1,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.vocab_size = vocab_size
        self.hidden_dim = hidden_dim
        self.max_length = max_length
        self.word_dropout = word_dropout
        self.unknown_id = unknown_id
        self._hide = keras.layers.Dropout(word_dropout, dtype="float32")

    def build(self, input_shape: Any) -> None:
        normal = keras.initializers.TruncatedNormal(stddev=self.hidden_dim**-0.5)
        self.embeddings = self.add_weight("embeddings", (self.vocab_size, self.hidden_dim), initializer=normal)
        self.bias = self.add_weight("bias", (self.vocab_size,), initializer="zeros")
        self.positions = None
        if self.max_length:
            small = keras.initializers.TruncatedNormal(stddev=0.02)
            self.positions = self.add_weight("positions", (self.max_length, self.hidden_dim), initializer=small)
        super().build(input_shape)

    def call(self, ids: tf.Tensor, training: bool | None = None) -> tf.Tensor:
        if self.word_dropout:
            kept = self._hide(tf.ones(tf.shape(ids)), training=training) > 0
            first = tf.range(tf.shape(ids)[-1]) == 0
            ids = tf.where(kept | first, ids, self.unknown_id)
        tokens = self._scaled(ids)
        if self.positions is not None:
            tokens += tf.cast(self.positions[: tf.shape(ids)[-1]], tokens.dtype)
        return tokens

    def step(self, ids: tf.Tensor, position: tf.Tensor) -> tf.Tensor:
        """Embeds ids `(…)` that all have the position `position` (scalar int32): `(…, hidden_dim)`."""
        tokens = self._scaled(ids)
        if self.positions is None:
            return tokens
        return tokens + tf.cast(tf.gather(tf.convert_to_tensor(self.positions), position), tokens.dtype)

    def logits(self, tokens: tf.Tensor, more_bias: tf.Tensor | None = None) -> tf.Tensor:
        """Scores the whole vocabulary.

        Args:
            tokens: `(…, hidden_dim)` float.
            more_bias: `(V,)` float, added to the learned bias; None adds nothing.

        Returns:
            `(…, V)` float32.
        """
        scores = tf.matmul(
            tf.reshape(tokens, (-1, self.hidden_dim)), tf.cast(self.embeddings, tokens.dtype), transpose_b=True
        )
        bias = tf.cast(self.bias, tf.float32)
        scores = tf.cast(scores, tf.float32) + (bias if more_bias is None else bias + more_bias)
        return tf.reshape(scores, tf.concat([tf.shape(tokens)[:-1], [self.vocab_size]], 0))

    def _scaled(self, ids: tf.Tensor) -> tf.Tensor:
        # Tied embeddings are small, so they are scaled up as inputs (Vaswani et al., 2017, section 3.4).
        # The table is read as a tensor: gathering from the variable itself would copy the whole table at every step.
        table = tf.convert_to_tensor(self.embeddings)
        return tf.cast(tf.gather(table, ids) * self.hidden_dim**0.5, self.compute_dtype)

    def get_config(self) -> dict[str, Any]:
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
    """The output layer of a `TokenEmbedding` as a layer of a functional model: `(…, D)` to `(…, V)` float32.

    Args:
        embedding: the `TokenEmbedding`, or a layer with the same `logits`.
    """

    def __init__(self, embedding: TokenEmbedding, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.embedding = embedding

    def call(self, tokens: tf.Tensor) -> tf.Tensor:
        return self.embedding.logits(tokens)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "embedding": keras.saving.serialize_keras_object(self.embedding)}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "TiedLogits":
        return cls(**{**config, "embedding": keras.saving.deserialize_keras_object(config["embedding"])})
