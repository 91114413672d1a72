"""Text encoders, from token ids to token states: a hub BERT, or a small Transformer that is trained with the rest."""

from collections.abc import Callable
from dataclasses import dataclass

import tensorflow as tf
import tf_keras as keras

from vl_keras.encoders.text_encoder import TextEncoder
from vl_keras.layers.transformer_blocks import TransformerEncoderBlock


@dataclass(frozen=True)
class TextModelSettings:
    """What a text encoder is built of.

    Attributes:
        vocab_size: V, number of token ids.
        max_length: tokens of the longest text.
        hidden_dim, num_heads, num_layers, intermediate_dim, dropout: of the small Transformer's blocks.
        hub: the loaded hub BERT, for the encoder `hub`.
    """

    vocab_size: int = 0
    max_length: int = 0
    hidden_dim: int = 256
    num_heads: int = 8
    num_layers: int = 2
    intermediate_dim: int = 1024
    dropout: float = 0.1
    hub: TextEncoder | None = None


def build_text_model(settings: TextModelSettings) -> keras.Model:
    """Builds the text encoder that settings describe: `hub` where they hold a hub BERT, else `transformer`.

    Returns:
        Functional `keras.Model`: `text_ids` `(B, T)` int32, 0 for padding, -> dict of `text_tokens` `(B, T, D)`, zeros
        at padding, and `text_mask` `(B, T)` bool, True = real token.
    """
    return TEXT_ENCODERS["hub" if settings.hub is not None else "transformer"](settings)


def hub_text_model(settings: TextModelSettings) -> keras.Model:
    """A hub BERT that reads ids as `HubTokenizer` makes them; see `build_text_model`."""
    ids = keras.Input((None,), dtype="int32", name="text_ids")
    inputs = {"input_word_ids": ids, "input_mask": tf.cast(ids != 0, tf.int32), "input_type_ids": tf.zeros_like(ids)}
    if settings.hub is None:
        raise ValueError("`hub` must be a loaded hub BERT.")
    read = settings.hub.model(inputs)
    outputs = {"text_tokens": read["text_tokens"], "text_mask": read["text_mask"]}
    return keras.Model(ids, outputs, name="text_encoder")


def small_text_model(settings: TextModelSettings) -> keras.Model:
    """A small Transformer encoder with learned positions, for texts of few different words; see `build_text_model`."""
    ids = keras.Input((None,), dtype="int32", name="text_ids")
    mask = ids != 0
    words = keras.layers.Embedding(settings.vocab_size, settings.hidden_dim, name="words")(ids)
    places = keras.layers.Embedding(settings.max_length, settings.hidden_dim, name="positions")(
        tf.range(tf.shape(ids)[1])
    )
    tokens = keras.layers.Dropout(settings.dropout, name="dropout")(words + places)
    sizes = (settings.hidden_dim, settings.num_heads, settings.intermediate_dim, settings.dropout)
    for i in range(settings.num_layers):
        tokens = TransformerEncoderBlock(*sizes, name=f"block_{i}")(tokens, mask)
    tokens = keras.layers.LayerNormalization(epsilon=1e-6, name="norm")(tokens)
    tokens = tf.where(mask[..., None], tokens, tf.zeros_like(tokens))
    return keras.Model(ids, {"text_tokens": tokens, "text_mask": mask}, name="text_encoder")


TEXT_ENCODERS: dict[str, Callable[[TextModelSettings], keras.Model]] = {
    "hub": hub_text_model,
    "transformer": small_text_model,
}
