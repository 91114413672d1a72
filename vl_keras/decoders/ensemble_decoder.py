"""Several decoders that write one caption together."""

from collections.abc import Sequence
from typing import Any

import tensorflow as tf
import tf_keras as keras

from vl_keras.decoders.decoder import Decoder


class EnsembleDecoder:
    """A `Decoder` that averages the logits of its members.

    The result is the normalised geometric mean of their probabilities (a logarithmic opinion pool; Heskes, 1998,
    "Selecting weighting factors in logarithmic opinion pools"). Its memory consists of the members' memories side by
    side, `(B, R, M * D)`, in the order of the members.

    Args:
        members: M decoders with the same vocabulary and width.
    """

    def __init__(self, members: Sequence[Decoder]) -> None:
        self.members = members
        self.vocab_size = members[0].vocab_size
        self.model = self._functional()

    def _functional(self) -> keras.Model:
        width = self.members[0].model.input_shape[1][-1]
        caption_ids = keras.Input((None, None), dtype="int32", name="caption_ids")
        memory = keras.Input((None, width * len(self.members)), name="memory")
        memory_mask = keras.Input((None,), dtype="bool", name="memory_mask")
        logits = [
            member.model([caption_ids, tokens, memory_mask])
            for member, tokens in zip(self.members, self._split(memory), strict=True)
        ]
        return keras.Model([caption_ids, memory, memory_mask], tf.add_n(logits) / len(logits), name="decoder")

    def initial_state(self, memory: tf.Tensor, memory_mask: tf.Tensor, num_beams: int, max_length: int) -> list[Any]:
        """Returns the list of the members' states; see `TransformerDecoder.initial_state` for the arguments."""
        return [
            member.initial_state(tokens, memory_mask, num_beams, max_length)
            for member, tokens in zip(self.members, self._split(memory), strict=True)
        ]

    def step(
        self, state: list[Any], tokens: tf.Tensor, more_bias: tf.Tensor | None = None
    ) -> tuple[tf.Tensor, list[Any], tf.Tensor]:
        """Reads one token of every beam; see `TransformerDecoder.step`. The attention is the mean over members."""
        steps = [member.step(before, tokens) for member, before in zip(self.members, state, strict=True)]
        member_logits, states, weights = zip(*steps, strict=True)
        logits = tf.add_n(member_logits) / len(member_logits)
        if more_bias is not None:
            logits += more_bias
        return logits, list(states), tf.add_n(weights) / len(weights)

    def reorder(self, state: list[Any], parents: tf.Tensor) -> list[Any]:
        """Moves beams; see `TransformerDecoder.reorder`."""
        return [member.reorder(before, parents) for member, before in zip(self.members, state, strict=True)]

    def _split(self, memory: tf.Tensor) -> list[tf.Tensor]:
        return tf.split(memory, len(self.members), axis=-1)
