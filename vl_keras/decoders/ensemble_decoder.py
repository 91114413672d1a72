"""Several decoders that write one caption together."""

import tensorflow as tf
import tf_keras as keras


class EnsembleDecoder:
    """Writes each word by the mean of its members' logits: the geometric mean of their probabilities, made to sum to 1
    (a logarithmic opinion pool; Heskes, 1998, "Selecting weighting factors in logarithmic opinion pools").

    It stands wherever a `TransformerDecoder` does: `model` for teacher forcing, `initial_state`, `step` and `reorder`
    for a token at a time. Its memory is that of all members side by side, `(B, R, M D)`, the first member's
    first.

    Args:
        members: M decoders of one vocabulary and one width.
    """

    def __init__(self, members):
        self.members = members
        self.vocab_size = members[0].vocab_size
        self.model = self._functional()

    def _functional(self):
        width = self.members[0].model.input_shape[1][-1]
        caption_ids = keras.Input((None, None), dtype="int32", name="caption_ids")
        memory = keras.Input((None, width * len(self.members)), name="memory")
        memory_mask = keras.Input((None,), dtype="bool", name="memory_mask")
        logits = [
            member.model([caption_ids, tokens, memory_mask])
            for member, tokens in zip(self.members, self._split(memory), strict=True)
        ]
        return keras.Model([caption_ids, memory, memory_mask], tf.add_n(logits) / len(logits), name="decoder")

    def initial_state(self, memory, memory_mask, num_beams, max_length):
        """What decoding starts from; arguments as in `TransformerDecoder.initial_state`. A list of members' states."""
        return [
            member.initial_state(tokens, memory_mask, num_beams, max_length)
            for member, tokens in zip(self.members, self._split(memory), strict=True)
        ]

    def step(self, state, tokens, more_bias=None):
        """Reads one token of every beam; arguments and result as in `TransformerDecoder.step`. The attention is the
        members' mean."""
        steps = [member.step(before, tokens) for member, before in zip(self.members, state, strict=True)]
        logits, states, looked = zip(*steps, strict=True)
        logits = tf.add_n(logits) / len(logits)
        if more_bias is not None:
            logits += more_bias
        return logits, list(states), tf.add_n(looked) / len(looked)

    def reorder(self, state, parents):
        """As `TransformerDecoder.reorder`."""
        return [member.reorder(before, parents) for member, before in zip(self.members, state, strict=True)]

    def _split(self, memory):
        return tf.split(memory, len(self.members), axis=-1)
