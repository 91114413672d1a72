"""An LSTM that reads its memory, the image tokens, at every step."""

from typing import Any

import tensorflow as tf
import tf_keras as keras

from vl_keras.layers.attention_ops import additive_mask
from vl_keras.layers.masked_mean import masked_mean
from vl_keras.layers.sentinel_attention import SentinelAttention
from vl_keras.layers.sentinel_lstm import SentinelLstm
from vl_keras.layers.token_embedding import TiedLogits, TokenEmbedding


class LstmDecoder:
    """LSTM decoder with adaptive attention (Lu et al., 2017, "Knowing When to Look", section 2.2) and tied output.

    Each step reads its token and the mean of the memory, attends to the memory with its output, and scores the
    vocabulary from both. `model` is the decoder as a functional model for teacher forcing; `initial_state`, `step` and
    `reorder` run the same layers one token at a time.

    The arguments are those of `TransformerDecoder`; `intermediate_dim` is the width of the LSTM.
    """

    def __init__(
        self,
        vocab_size: int,
        hidden_dim: int,
        num_heads: int,
        num_layers: int,
        intermediate_dim: int,
        dropout: float,
        word_dropout: float,
        max_length: int,
        name: str = "decoder",
    ) -> None:
        del max_length  # an LSTM has no position embedding
        self.vocab_size = vocab_size
        self._embedding = TokenEmbedding(vocab_size, hidden_dim, 0, word_dropout, name="embedding")
        dense = keras.layers.Dense
        self._starts = [dense(2 * intermediate_dim, "tanh", name=f"start_{i}") for i in range(num_layers)]
        self._lstms = [SentinelLstm(intermediate_dim, name=f"lstm_{i}") for i in range(num_layers)]
        self._outputs = [keras.layers.Dropout(dropout, name=f"lstm_dropout_{i}") for i in range(num_layers)]
        self._query = dense(hidden_dim, name="query")
        self._sentinel = dense(hidden_dim, name="sentinel")
        self._attention = SentinelAttention(hidden_dim, num_heads, name="attention")
        self._mix = dense(hidden_dim, "tanh", name="mix")
        self._mix_dropout = keras.layers.Dropout(dropout, name="mix_dropout")
        self.model = self._functional(hidden_dim, dropout, name)

    def _functional(self, hidden_dim: int, dropout: float, name: str) -> keras.Model:
        caption_ids = keras.Input((None, None), dtype="int32", name="caption_ids")
        memory = keras.Input((None, hidden_dim), name="memory")
        memory_mask = keras.Input((None,), dtype="bool", name="memory_mask")
        tokens = keras.layers.Dropout(dropout, name="embedding_dropout")(self._embedding(caption_ids))
        vector = tf.cast(masked_mean(memory, memory_mask), tokens.dtype)
        shape = tf.shape(caption_ids)
        batch, captions, length = shape[0], shape[1], shape[2]
        hidden = tf.concat([tokens, _repeat(vector, captions, length)], axis=-1)
        hidden = tf.reshape(hidden, (batch * captions, length, 2 * hidden_dim))
        for start, lstm, dropped in zip(self._starts, self._lstms, self._outputs, strict=True):
            state = tf.split(tf.repeat(start(vector), captions, axis=0), 2, axis=-1)
            hidden, sentinel = lstm(hidden, state)
            hidden = dropped(hidden)
        query = tf.reshape(self._query(hidden), (batch, captions * length, hidden_dim))
        sentinel = tf.reshape(self._sentinel(sentinel), (batch, captions * length, hidden_dim))
        read, _ = self._attention(query, sentinel, memory, memory_mask)
        mixed = self._mix_dropout(self._mix(tf.concat([query, read], axis=-1)))
        logits = TiedLogits(self._embedding, name="logits")(tf.reshape(mixed, (batch, captions, length, hidden_dim)))
        return keras.Model([caption_ids, memory, memory_mask], logits, name=name)

    def initial_state(
        self, memory: tf.Tensor, memory_mask: tf.Tensor, num_beams: int, max_length: int
    ) -> dict[str, Any]:
        """Returns the state before the first token; see `TransformerDecoder.initial_state`."""
        del max_length
        vector = masked_mean(memory, memory_mask)
        return {
            "memory": self._attention.cross_attention.remember(memory, memory_mask),
            "memory_mask": additive_mask(memory_mask)[:, None, None],
            "gates": tf.repeat(self._lstms[0].constant_gates(vector)[:, None], num_beams, axis=1),
            "lstm": [tf.split(start(vector)[:, None], 2, axis=-1) for start in self._starts],
        }

    def step(
        self, state: dict[str, Any], tokens: tf.Tensor, more_bias: tf.Tensor | None = None
    ) -> tuple[tf.Tensor, dict[str, Any], tf.Tensor]:
        """Reads one token of every beam; see `TransformerDecoder.step`."""
        num_beams, memory_mask = tokens.shape[1], state["memory_mask"]
        hidden = self._embedding.step(tf.reshape(tokens, (-1,)), 0)
        constant, states = _rows(state["gates"][:, :num_beams]), []
        for lstm, before in zip(self._lstms, state["lstm"], strict=True):
            hidden, sentinel, after = lstm.step(hidden, [_rows(part) for part in before], constant)
            constant = None
            states.append([_beams(part, num_beams) for part in after])
        query = self._query(hidden)
        read, weights = self._attention.step(query, self._sentinel(sentinel), num_beams, state["memory"], memory_mask)
        logits = self._embedding.logits(self._mix(tf.concat([query, read], axis=-1)), more_bias)
        weights = tf.where(memory_mask[:, 0] == 0, weights, 0.0)
        return _beams(logits, num_beams), {**state, "lstm": states}, weights

    def reorder(self, state: dict[str, Any], parents: tf.Tensor) -> dict[str, Any]:
        """Moves beams; see `TransformerDecoder.reorder`."""
        moved = [[tf.gather(part, parents, batch_dims=1) for part in layer] for layer in state["lstm"]]
        return {**state, "lstm": moved}


def _repeat(vector: tf.Tensor, captions: tf.Tensor, length: tf.Tensor) -> tf.Tensor:
    return tf.repeat(tf.repeat(vector[:, None, None], captions, axis=1), length, axis=2)


def _rows(tensor: tf.Tensor) -> tf.Tensor:
    return tf.reshape(tensor, (-1, tensor.shape[-1]))


def _beams(tensor: tf.Tensor, num_beams: int) -> tf.Tensor:
    return tf.reshape(tensor, (-1, num_beams, tensor.shape[-1]))
