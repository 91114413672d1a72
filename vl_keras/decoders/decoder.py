"""The interface of a decoder that writes text token by token."""

from typing import Any, Protocol

import tensorflow as tf
import tf_keras as keras


class Decoder(Protocol):
    """What `generate` and the models need of a decoder; see `TransformerDecoder` for arguments and results.

    Attributes:
        vocab_size: V.
        model: functional model of caption ids, memory and memory mask, for teacher forcing.
    """

    vocab_size: int
    model: keras.Model

    def initial_state(self, memory: tf.Tensor, memory_mask: tf.Tensor, num_beams: int, max_length: int) -> Any:
        """State before the first token."""

    def step(
        self, state: Any, tokens: tf.Tensor, more_bias: tf.Tensor | None = None
    ) -> tuple[tf.Tensor, Any, tf.Tensor]:
        """Reads one token of every beam; returns logits, the next state and attention weights."""

    def reorder(self, state: Any, parents: tf.Tensor) -> Any:
        """Moves beams."""
