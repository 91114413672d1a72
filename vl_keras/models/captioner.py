"""The captioner: image encoder, optional context, decoder."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import tensorflow as tf
import tf_keras as keras

from vl_keras.decoders import DECODERS
from vl_keras.decoders.ensemble_decoder import EnsembleDecoder
from vl_keras.decoders.generation import Generated, generate
from vl_keras.layers.cross_modal_attention import CrossModalAttention
from vl_keras.models.token_reader import MaskedTokens, image_model_inputs, image_tokens, read_tokens, token_inputs


class Captioner(NamedTuple):
    """The models of one captioner; they share their layers.

    Attributes:
        training_model: inputs of `reader` and `caption_ids` `(B, K, L)` to next-token logits `(B, K, L, V)`.
        image_encoder: `image` `(B, height, width, 3)`, 0 to 255, to `image_tokens`, `image_mask` and `image_vector`.
        reader: `image_tokens` `(B, R, Dv)` and `image_mask` `(B, R)` (and the context's inputs) to `memory`
            `(B, S, D)` and `memory_mask` `(B, S)`: first the R image tokens, then the context's. Of an ensemble of M
            members `(B, S, M D)`.
        decoder: of `DECODERS`, or an `EnsembleDecoder` of several.
        consensus: function of the image's `MaskedTokens` and of captions' ids `(B, K, L)` to `(B, K)`, how well these
            agree with captions of such images; None: captions are not ranked by it.
    """

    training_model: keras.Model
    image_encoder: keras.Model
    reader: keras.Model
    decoder: Any
    consensus: Callable[[MaskedTokens, tf.Tensor], tf.Tensor] | None = None

    def read(self, inputs: Mapping[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        """The reader's outputs, in inference mode, for a batch as `generate` takes it."""
        image = image_tokens(self.image_encoder, inputs)
        known = {**inputs, "image_tokens": image.tokens, "image_mask": image.mask}
        return self.reader({name: known[name] for name in self.reader.input_names}, training=False)

    def generate(
        self,
        inputs: Mapping[str, tf.Tensor],
        consensus_weight: float = 1.0,
        *,
        method: str = "beam",
        beam_size: int = 3,
        num_captions: int = 1,
        **settings: Any,
    ) -> Generated:
        """Captions for a batch.

        Args:
            inputs: the reader's, or with `image` in place of `image_tokens` and `image_mask`; without the mask all
                image tokens are real.
            consensus_weight: of `consensus`, where there is one: all captions of the search, or all samples, are ranked
                anew by their score and, added, this times their consensus; these sums are the scores then.
            method, beam_size, num_captions, settings: of `decoders.generation.generate`.

        Returns:
            `Generated`; its attention is over the R image tokens alone.
        """
        image = image_tokens(self.image_encoder, inputs)
        regions = tf.shape(image.tokens)[1]
        read = self.read({**inputs, "image_tokens": image.tokens, "image_mask": image.mask})
        kept = beam_size if self.consensus is not None and method == "beam" else num_captions
        settings |= {"method": method, "beam_size": beam_size, "num_captions": kept}
        written = generate(self.decoder, read["memory"], read["memory_mask"], **settings)
        if written.attention is not None:
            written = written._replace(attention=written.attention[..., :regions])
        if self.consensus is None:
            return written
        agreement = self.consensus(image, written.tokens)
        scores, places = tf.math.top_k(written.scores + consensus_weight * agreement, num_captions)
        chosen = (None if value is None else tf.gather(value, places, batch_dims=1) for value in written)
        return type(written)(*chosen)._replace(scores=scores)


def build_captioner(
    image_encoder: keras.Model,
    vocab_size: int,
    *,
    text_encoder: keras.Model | None = None,
    decoder: str = "transformer",
    hidden_dim: int = 256,
    num_heads: int = 8,
    num_layers: int = 3,
    image_layers: int = 0,
    intermediate_dim: int = 1024,
    dropout: float = 0.1,
    image_dropout: float = 0.1,
    word_dropout: float = 0.0,
    max_length: int = 24,
    members: int = 1,
    from_image_tokens: bool = False,
) -> Captioner:
    """Builds a captioner around an image encoder.

    Args:
        image_encoder: as of `build_image_encoder`.
        vocab_size: V.
        text_encoder: keras.Model that reads a context: a dict of inputs to `text_tokens` `(B, T, Dt)` and `text_mask`
            `(B, T)` bool; None: no context.
        decoder: `lstm` or `transformer`.
        hidden_dim: D of everything after the encoders; must be divisible by `num_heads`.
        num_heads, num_layers, intermediate_dim, dropout, word_dropout: of the decoder.
        image_layers: Transformer encoder blocks over the image tokens.
        image_dropout: on the encoder's features; a dropped feature is missing from all R tokens.
        max_length: longest caption, tokens.
        members: M readers and decoders whose logits are averaged; they share the encoders.
        from_image_tokens: the training model takes `image_tokens` and `image_mask` from a feature cache, in place of
            `image`.

    Returns:
        `Captioner`.
    """
    suffixes = [f"_{i}" for i in range(members)] if members > 1 else [""]
    context = text_encoder if members == 1 or text_encoder is None else _already_read(text_encoder)
    features = image_encoder.output_shape["image_tokens"][-1]
    sizes = (hidden_dim, num_heads, image_layers, intermediate_dim, dropout, image_dropout)
    readers = [_build_reader(features, context, *sizes, name=f"reader{suffix}") for suffix in suffixes]
    decoders = [
        DECODERS[decoder](
            vocab_size,
            hidden_dim,
            num_heads,
            num_layers,
            intermediate_dim,
            dropout,
            word_dropout,
            max_length,
            name=f"decoder{suffix}",
        )
        for suffix in suffixes
    ]
    reader, writer = readers[0], decoders[0]
    if members > 1:
        reader, writer = _side_by_side(readers, text_encoder), EnsembleDecoder(decoders)

    caption_ids = keras.Input((None, None), dtype="int32", name="caption_ids")
    inputs, image = image_model_inputs(image_encoder, from_image_tokens)
    context_inputs = {name: value for name, value in reader.input.items() if name not in ("image_tokens", "image_mask")}
    memory = reader({"image_tokens": image.tokens, "image_mask": image.mask, **context_inputs})
    logits = writer.model([caption_ids, memory["memory"], memory["memory_mask"]])
    training_model = keras.Model({**inputs, **context_inputs, "caption_ids": caption_ids}, logits, name="captioner")
    return Captioner(training_model, image_encoder, reader, writer)


# Keras lists the layers of a functional model by their distance from its outputs, and checkpoints store weights in that
# order: a step more or less on one of the two ways here can change it.
def _build_reader(
    features: int,
    text_encoder: keras.Model | None,
    hidden_dim: int,
    num_heads: int,
    image_layers: int,
    intermediate_dim: int,
    dropout: float,
    image_dropout: float,
    name: str,
) -> keras.Model:
    image = token_inputs("image", features)
    inputs = {"image_tokens": image.tokens, "image_mask": image.mask}
    sizes = (hidden_dim, num_heads, image_layers, intermediate_dim, dropout)
    tokens, mask = read_tokens("image", image, *sizes, feature_dropout=image_dropout), image.mask
    if text_encoder is not None:
        context = {tensor.name: _input_like(tensor) for tensor in text_encoder.inputs}
        inputs |= context
        read = text_encoder(context)
        words = keras.layers.Dropout(dropout, name="context_dropout")(read["text_tokens"])
        words = keras.layers.Dense(hidden_dim, name="context_projection")(words)
        attended = CrossModalAttention(hidden_dim, num_heads, name="context_attention")(words, tokens, mask)
        words = keras.layers.LayerNormalization(epsilon=1e-6, name="context_norm")(words + attended)
        tokens = tf.concat([tokens, words], axis=1)
        mask = tf.concat([mask, read["text_mask"]], axis=1)
    return keras.Model(inputs, {"memory": tokens, "memory_mask": mask}, name=name)


def _already_read(text_encoder: keras.Model) -> keras.Model:
    """Takes the place of a text encoder whose outputs are known already: it takes them and gives them."""
    width = text_encoder.output_shape["text_tokens"][-1]
    tokens = token_inputs("text", width)
    inputs = {"text_tokens": tokens.tokens, "text_mask": tokens.mask}
    return keras.Model(inputs, {name: tf.identity(value) for name, value in inputs.items()})


def _side_by_side(readers: list[keras.Model], text_encoder: keras.Model | None) -> keras.Model:
    """One reader for an ensemble: it encodes a context once, and puts the memories side by side on the last axis."""
    inputs = {name: _input_like(readers[0].input[name]) for name in ("image_tokens", "image_mask")}
    known = dict(inputs)
    if text_encoder is not None:
        context = {tensor.name: _input_like(tensor) for tensor in text_encoder.inputs}
        inputs |= context
        read = text_encoder(context)
        known |= {name: read[name] for name in ("text_tokens", "text_mask")}
    outputs = [reader(known) for reader in readers]
    memory = tf.concat([one["memory"] for one in outputs], axis=-1)
    return keras.Model(inputs, {"memory": memory, "memory_mask": outputs[0]["memory_mask"]}, name="reader")


def _input_like(tensor: tf.Tensor) -> tf.Tensor:
    return keras.Input(tensor.shape[1:], dtype=tensor.dtype, name=tensor.name)
