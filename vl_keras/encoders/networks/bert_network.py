"""BERT as a Keras model (Devlin et al., 2019)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import tf_keras as keras

from vl_keras.layers.transformer_blocks import TransformerEncoderBlock

EXACT_GELU = "gelu"
TANH_GELU = "gelu_tanh"  # the approximation of Hendrycks and Gimpel (2016), which keras-nlp's BERT uses


@dataclass(frozen=True)
class BertSettings:
    """Sizes and constants of one BERT."""

    vocabulary_size: int
    num_layers: int
    num_heads: int
    hidden_dim: int
    intermediate_dim: int
    max_length: int = 512  # positions
    num_segments: int = 2
    activation: str = EXACT_GELU  # gelu (with the error function), gelu_tanh, relu
    epsilon: float = 1e-12  # of layer normalisation
    dropout: float = 0.1  # in fine-tuning; hidden states and attention alike
    initializer_range: float = 0.02  # standard deviation of random weights


def build_bert(settings: BertSettings) -> keras.Model:
    """Builds the network; keras-nlp's own `BertBackbone` is fixed to the tanh approximation of GELU.

    Returns:
        Functional `keras.Model`: `input_word_ids`, `input_mask`, `input_type_ids`, each `(B, T)` int32 -> dict of
        `pooled_output` `(B, D)`, `sequence_output` `(B, T, D)`, `encoder_outputs` (a list, one `(B, T, D)` per layer).
    """
    # Imported here: it takes seconds, and only the making of modules needs it.
    from keras_nlp.layers import PositionEmbedding

    layers, float32 = keras.layers, {"dtype": "float32"}
    names = ("input_word_ids", "input_mask", "input_type_ids")
    inputs = {name: keras.Input((None,), dtype="int32", name=name) for name in names}
    words = layers.Embedding(settings.vocabulary_size, settings.hidden_dim, name="token_embedding", **float32)(
        inputs["input_word_ids"]
    )
    segments = layers.Embedding(settings.num_segments, settings.hidden_dim, name="segment_embedding", **float32)(
        inputs["input_type_ids"]
    )
    positions = PositionEmbedding(settings.max_length, name="position_embedding", **float32)(words)
    x = layers.Add(name="embeddings_add", **float32)([words, positions, segments])
    x = layers.LayerNormalization(epsilon=settings.epsilon, name="embeddings_layer_norm", **float32)(x)
    x = layers.Dropout(settings.dropout, name="embeddings_dropout", **float32)(x)
    outputs, real = [], inputs["input_mask"] > 0
    for index in range(settings.num_layers):
        x = TransformerEncoderBlock(
            settings.hidden_dim,
            settings.num_heads,
            settings.intermediate_dim,
            settings.dropout,
            norm_first=False,
            activation=settings.activation,
            epsilon=settings.epsilon,
            output_bias=True,
            attention_dropout=settings.dropout,
            name=f"transformer_layer_{index}",
            dtype="float32",
        )(x, real)
        outputs.append(x)
    pooled = layers.Dense(settings.hidden_dim, activation="tanh", name="pooled_dense", **float32)(x[:, 0, :])
    return keras.Model(inputs, {"pooled_output": pooled, "sequence_output": x, "encoder_outputs": outputs}, name="bert")


def set_weights(network: keras.Model, weights: Mapping[str, Sequence[np.ndarray]]) -> None:
    """Puts `weights`, a dict of layer name to its arrays in Keras's order, into a network of `build_bert`."""
    for name, arrays in weights.items():
        network.get_layer(name).set_weights(arrays)


def randomize_weights(network: keras.Model, settings: BertSettings, seed: int) -> None:
    """Fresh weights as BERT starts from: matrices normal within two deviations, scales 1, offsets 0."""
    generator = np.random.default_rng(seed)
    for weight in network.weights:
        scale_or_offset = weight.name.split("/")[-1].split(":")[0]
        if scale_or_offset in ("bias", "beta"):
            value = np.zeros(weight.shape)
        elif scale_or_offset == "gamma":
            value = np.ones(weight.shape)
        else:
            value = np.clip(generator.normal(size=weight.shape), -2, 2) * settings.initializer_range
        weight.assign(value.astype(np.float32))
