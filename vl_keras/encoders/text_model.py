"""Token ids to token states: a hub BERT, or a small Transformer trained with the rest."""

import tensorflow as tf
import tf_keras as keras

from vl_keras.layers.transformer_blocks import TransformerEncoderBlock


def hub_text_model(text_encoder):
    """A hub BERT that reads ids as `HubTokenizer` makes them.

    Args:
        text_encoder: `TextEncoder`.

    Returns:
        Functional `keras.Model`: `text_ids` `(B, T)` int32, 0 for padding, -> `(B, T, D)`, zeros at padding.
    """
    ids = keras.Input((None,), dtype="int32", name="text_ids")
    inputs = {"input_word_ids": ids, "input_mask": tf.cast(ids != 0, tf.int32), "input_type_ids": tf.zeros_like(ids)}
    return keras.Model(ids, text_encoder.model(inputs)["text_tokens"], name="text_encoder")


def small_text_model(vocab_size, hidden_dim, num_heads, num_layers, intermediate_dim, dropout, max_length):
    """A small Transformer encoder with learned positions, for texts whose words are few.

    Args:
        vocab_size: V.
        hidden_dim, num_heads, num_layers, intermediate_dim, dropout: of its blocks.
        max_length: longest text, tokens.

    Returns:
        Functional `keras.Model`: `text_ids` `(B, T)` int32, 0 for padding, -> `(B, T, hidden_dim)`, zeros at padding.
    """
    ids = keras.Input((None,), dtype="int32", name="text_ids")
    mask = ids != 0
    words = keras.layers.Embedding(vocab_size, hidden_dim, name="words")(ids)
    places = keras.layers.Embedding(max_length, hidden_dim, name="positions")(tf.range(tf.shape(ids)[1]))
    tokens = keras.layers.Dropout(dropout, name="dropout")(words + places)
    for i in range(num_layers):
        tokens = TransformerEncoderBlock(hidden_dim, num_heads, intermediate_dim, dropout, name=f"block_{i}")(
            tokens, mask
        )
    tokens = keras.layers.LayerNormalization(epsilon=1e-6, name="norm")(tokens)
    tokens = tf.where(mask[..., None], tokens, tf.zeros_like(tokens))
    return keras.Model(ids, tokens, name="text_encoder")
