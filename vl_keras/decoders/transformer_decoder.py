"""A Transformer that writes captions from a memory: image tokens, and a context's tokens where there are any."""

from typing import Any

import tensorflow as tf
import tf_keras as keras

from vl_keras.layers.attention_ops import additive_mask
from vl_keras.layers.causal_self_attention import first_rows
from vl_keras.layers.layer_norm import layer_norm
from vl_keras.layers.token_embedding import TiedLogits, TokenEmbedding
from vl_keras.layers.transformer_blocks import TransformerDecoderBlock


class TransformerDecoder:
    """Pre-norm Transformer decoder with causal self-attention, cross-attention and tied output (Vaswani et al., 2017).

    `model` is the whole decoder as a functional model for teacher forcing; `initial_state`, `step` and `reorder` run
    the same layers a token at a time with a key/value cache.

    Args:
        vocab_size: V.
        hidden_dim: width of the tokens and of the memory, D; must be divisible by `num_heads`.
        num_heads, num_layers, intermediate_dim: see `TransformerDecoderBlock`; `num_layers` is the number of blocks.
        dropout: residual, attention and feed-forward dropout.
        word_dropout: probability in training that an input token is replaced by the unknown token.
        max_length: longest caption that can be read or written, in tokens.
        name: name of `model`.
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
        self.vocab_size = vocab_size
        self._hidden_dim = hidden_dim
        self._num_heads = num_heads
        self._embedding = TokenEmbedding(vocab_size, hidden_dim, max_length, word_dropout, name="embedding")
        self._blocks = [
            TransformerDecoderBlock(hidden_dim, num_heads, intermediate_dim, dropout, name=f"block_{i}")
            for i in range(num_layers)
        ]
        self._norm = keras.layers.LayerNormalization(epsilon=1e-6, name="norm")
        self.model = self._functional(dropout, name)

    def _functional(self, dropout: float, name: str) -> keras.Model:
        caption_ids = keras.Input((None, None), dtype="int32", name="caption_ids")
        memory = keras.Input((None, self._hidden_dim), name="memory")
        memory_mask = keras.Input((None,), dtype="bool", name="memory_mask")
        tokens = keras.layers.Dropout(dropout, name="embedding_dropout")(self._embedding(caption_ids))
        for block in self._blocks:
            tokens, _ = block(tokens, memory, memory_mask)
        logits = TiedLogits(self._embedding, name="logits")(self._norm(tokens))
        return keras.Model([caption_ids, memory, memory_mask], logits, name=name)

    def initial_state(
        self, memory: tf.Tensor, memory_mask: tf.Tensor, num_beams: int, max_length: int
    ) -> dict[str, Any]:
        """Returns the state before the first token.

        Args:
            memory: `(B, R, D)`.
            memory_mask: `(B, R)` bool.
            num_beams: K, the number of captions that will be written in parallel for each row.
            max_length: L, the largest number of tokens.

        Returns:
            A dict of tensors for one beam, because all beams start equal; `reorder` extends it to several. Only `step`
            and `reorder` read it.
        """
        batch = tf.shape(memory)[0]
        return {
            "position": tf.constant(0),
            "memory": [block.cross_attention.remember(memory, memory_mask) for block in self._blocks],
            "memory_mask": additive_mask(memory_mask)[:, None, None],
            "first_rows": first_rows(batch, self._num_heads, max_length),
            "cache": [block.self_attention.empty_cache(batch, max_length, num_beams) for block in self._blocks],
            # The beam whose slot holds each position of each beam's past, (B, K, L, 1); -1: not yet written.
            "ancestors": tf.fill((batch, 1, max_length, 1), -1),
        }

    def step(
        self, state: dict[str, Any], tokens: tf.Tensor, more_bias: tf.Tensor | None = None
    ) -> tuple[tf.Tensor, dict[str, Any], tf.Tensor]:
        """Reads one token of every beam.

        Args:
            state: from `initial_state`, `reorder` or the last `step`.
            tokens: `(B, K)` int32; K is 1 until `reorder` increases it.
            more_bias: `(V,)` float32, added to all logits.

        Returns:
            Logits of the next token `(B, K, V)` float32, the next state, and the attention weights over the memory
            `(B, K, R)` float32, the mean over heads and layers.
        """
        position, memory_mask = state["position"], state["memory_mask"]
        num_beams, max_length = state["ancestors"].shape[1:3]
        room = state["cache"][0].shape[1] * self._num_heads // self._hidden_dim  # beams that the cache has room for
        now = tf.range(max_length)[:, None] == position
        ancestors = tf.where(now, tf.range(num_beams)[:, None, None], state["ancestors"])
        own = tf.reshape(additive_mask(ancestors == tf.range(room)), (-1, 1, num_beams, max_length * room))
        written = state["first_rows"] + position
        rows = self._embedding.step(tf.reshape(tokens, (-1,)), position)
        caches, weights = [], []
        for block, cache, memory in zip(self._blocks, state["cache"], state["memory"], strict=True):
            rows, weight, cache = block.step(rows, cache, written, own, memory, memory_mask)
            caches.append(cache)
            weights.append(tf.reduce_mean(weight, axis=1))
        logits = self._embedding.logits(layer_norm(rows, self._norm), more_bias)
        attention = tf.where(memory_mask[:, 0] == 0, tf.add_n(weights) / len(weights), 0.0)
        after = {**state, "position": position + 1, "cache": caches, "ancestors": ancestors}
        return tf.reshape(logits, (-1, num_beams, logits.shape[-1])), after, attention

    def reorder(self, state: dict[str, Any], parents: tf.Tensor) -> dict[str, Any]:
        """Moves beams.

        Args:
            state: from `initial_state` or the last `step`.
            parents: `(B, K)` int32: beam k of the new state continues beam `parents[:, k]` of `state`.

        Returns:
            The new state.
        """
        return {**state, "ancestors": tf.gather(state["ancestors"], parents, batch_dims=1)}
