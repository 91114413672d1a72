"""A Transformer that writes captions from image tokens."""

import tensorflow as tf
import tf_keras as keras

from vl_keras.layers.token_embedding import TiedLogits, TokenEmbedding
from vl_keras.layers.transformer_blocks import TransformerDecoderBlock


class TransformerDecoder:
    """Pre-norm Transformer decoder with causal self-attention, cross-attention and tied output (Vaswani et al., 2017).

    `model` is the whole decoder as a functional model for teacher forcing; `initial_state`, `step` and `reorder` run
    the same layers a token at a time with a key/value cache.

    Args:
        vocab_size: V.
        hidden_dim: width of tokens and image tokens, D; divides by `num_heads`.
        num_heads, num_layers, intermediate_dim: of the blocks.
        dropout: residual, attention and feed-forward dropout.
        word_dropout: chance in training that an input word is hidden.
        max_length: longest caption that can be read or written, tokens.
    """

    def __init__(
        self, vocab_size, hidden_dim, num_heads, num_layers, intermediate_dim, dropout, word_dropout, max_length
    ):
        self.max_length = max_length
        self._embedding = TokenEmbedding(vocab_size, hidden_dim, max_length, word_dropout, name="embedding")
        self._blocks = [
            TransformerDecoderBlock(hidden_dim, num_heads, intermediate_dim, dropout, name=f"block_{i}")
            for i in range(num_layers)
        ]
        self._norm = keras.layers.LayerNormalization(epsilon=1e-6, name="norm")
        self.model = self._functional(hidden_dim, dropout)

    def _functional(self, hidden_dim, dropout):
        caption_ids = keras.Input((None, None), dtype="int32", name="caption_ids")
        image_tokens = keras.Input((None, hidden_dim), name="image_tokens")
        image_mask = keras.Input((None,), dtype="bool", name="image_mask")
        tokens = keras.layers.Dropout(dropout, name="embedding_dropout")(self._embedding(caption_ids))
        for block in self._blocks:
            tokens, _ = block(tokens, image_tokens, image_mask)
        # Keras fixes a norm's axis when it is built; `step` calls it with three axes, so it is built with three.
        shape = tf.shape(tokens)
        rows = self._norm(tf.reshape(tokens, (shape[0], shape[1] * shape[2], hidden_dim)))
        logits = TiedLogits(self._embedding, name="logits")(tf.reshape(rows, shape))
        return keras.Model([caption_ids, image_tokens, image_mask], logits, name="transformer_decoder")

    def initial_state(self, image_tokens, image_mask, num_beams, max_length):
        """What decoding starts from.

        Args:
            image_tokens: `(B, R, D)`.
            image_mask: `(B, R)` bool.
            num_beams: K captions written side by side for each picture.
            max_length: L tokens at most.

        Returns:
            A dict of tensors; only `step` and `reorder` read it.
        """
        batch = tf.shape(image_tokens)[0]
        return {
            "position": tf.constant(0),
            "image": [block.cross_attention.project(image_tokens) for block in self._blocks],
            "image_mask": image_mask,
            "cache": [block.self_attention.empty_cache(batch, max_length * num_beams) for block in self._blocks],
            # Which beam's slot holds each position of each beam's past: (B, K, L).
            "ancestors": tf.tile(tf.range(num_beams)[None, :, None], (batch, 1, max_length)),
        }

    def step(self, state, tokens):
        """Reads one token of every beam.

        Args:
            state: from `initial_state` or the last `step`.
            tokens: `(B, K)` int32.

        Returns:
            Logits of the next token `(B, K, V)` float32, the next state, and the attention over the image
            `(B, K, R)` float32, mean over heads and layers.
        """
        position, ancestors = state["position"], state["ancestors"]
        num_beams, max_length = ancestors.shape[1], ancestors.shape[2]
        past = tf.range(max_length)[:, None] <= position
        own = tf.equal(ancestors[..., None], tf.range(num_beams))
        visible = tf.reshape(own & past, (-1, num_beams, max_length * num_beams))
        hidden = self._embedding.step(tokens, position)
        caches, weights = [], []
        for block, cache, image in zip(self._blocks, state["cache"], state["image"], strict=True):
            hidden, weight, cache = block.step(hidden, cache, position, visible, *image, state["image_mask"])
            caches.append(cache)
            weights.append(tf.reduce_mean(weight, axis=1))
        logits = self._embedding.logits(self._norm(hidden))
        return logits, {**state, "position": position + 1, "cache": caches}, tf.add_n(weights) / len(weights)

    def reorder(self, state, parents):
        """The state after beam `k` of each picture has become a continuation of beam `parents[:, k]` `(B, K)`."""
        ancestors = state["ancestors"]
        num_beams, max_length = ancestors.shape[1], ancestors.shape[2]
        moved = tf.gather(ancestors, parents, batch_dims=1)
        written = tf.range(max_length) < state["position"]
        return {**state, "ancestors": tf.where(written, moved, tf.range(num_beams)[:, None])}
