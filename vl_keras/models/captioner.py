"""The captioner: image encoder, optional context, decoder."""

from typing import Any, NamedTuple

import tensorflow as tf
import tf_keras as keras

from vl_keras.decoders import DECODERS
from vl_keras.decoders.ensemble_decoder import EnsembleDecoder
from vl_keras.decoders.generation import generate
from vl_keras.layers.cross_modal_attention import CrossModalAttention
from vl_keras.layers.transformer_blocks import TransformerEncoderBlock


class Captioner(NamedTuple):
    """The models of one captioner; they share their layers.

    Attributes:
        training_model: inputs of `reader` and `caption_ids` `(B, K, L)` to next-token logits `(B, K, L, V)`.
        image_encoder: `image` `(B, height, width, 3)`, 0 to 255, to `image_tokens` and `image_vector`.
        reader: `image_tokens` `(B, R, Dv)` (and the context's inputs) to `memory` `(B, S, D)` and `memory_mask`
            `(B, S)`: first the R image tokens, then the context's. Of an ensemble of M members `(B, S, M D)`.
        decoder: of `DECODERS`, or an `EnsembleDecoder` of several.
        consensus: function of `image_tokens` and of captions' ids `(B, K, L)` to `(B, K)`, how well these agree with
            captions of such images; None: captions are not ranked by it.
    """

    training_model: keras.Model
    image_encoder: keras.Model
    reader: keras.Model
    decoder: Any
    consensus: Any = None

    def generate(self, inputs, consensus_weight=1.0, *, method="beam", beam_size=3, num_captions=1, **settings):
        """Captions for a batch.

        Args:
            inputs: the reader's, or with `image` in place of `image_tokens`.
            consensus_weight: of `consensus`, where there is one: all captions of the search, or all samples, are ranked
                anew by their score and, added, this times their consensus; these sums are the scores then.
            method, beam_size, num_captions, settings: of `decoders.generation.generate`.

        Returns:
            `Generated`; its attention is over the R image tokens alone.
        """
        inputs = dict(inputs)
        if "image" in inputs:
            inputs["image_tokens"] = self.image_encoder(inputs.pop("image"), training=False)["image_tokens"]
        regions = tf.shape(inputs["image_tokens"])[1]
        read = self.reader({name: inputs[name] for name in self.reader.input_names}, training=False)
        kept = beam_size if self.consensus is not None and method == "beam" else num_captions
        settings |= {"method": method, "beam_size": beam_size, "num_captions": kept}
        written = generate(self.decoder, read["memory"], read["memory_mask"], **settings)
        if written.attention is not None:
            written = written._replace(attention=written.attention[..., :regions])
        if self.consensus is None:
            return written
        agreement = self.consensus(inputs["image_tokens"], written.tokens)
        scores, places = tf.math.top_k(written.scores + consensus_weight * agreement, num_captions)
        chosen = (None if value is None else tf.gather(value, places, batch_dims=1) for value in written)
        return type(written)(*chosen)._replace(scores=scores)


def build_captioner(
    image_encoder,
    vocab_size,
    *,
    text_encoder=None,
    decoder="transformer",
    hidden_dim=256,
    num_heads=8,
    num_layers=3,
    image_layers=0,
    intermediate_dim=1024,
    dropout=0.1,
    image_dropout=0.1,
    word_dropout=0.0,
    max_length=24,
    members=1,
    from_image_tokens=False,
):
    """Builds a captioner around an image encoder.

    Args:
        image_encoder: keras.Model, `(B, height, width, 3)` to `{"image_tokens": (B, R, Dv), …}`.
        vocab_size: V.
        text_encoder: keras.Model that reads a context: its inputs, which include `input_mask` `(B, T)`, to
            `{"text_tokens": (B, T, Dt), …}`; None: no context.
        decoder: `lstm` or `transformer`.
        hidden_dim: D of everything after the encoders; divides by `num_heads`.
        num_heads, num_layers, intermediate_dim, dropout, word_dropout: of the decoder.
        image_layers: Transformer encoder blocks over the image tokens.
        image_dropout: on the encoder's features; a dropped feature is missing from all R tokens.
        max_length: longest caption, tokens.
        members: M readers and decoders whose logits are averaged; they share the encoders.
        from_image_tokens: the training model takes `image_tokens` from a feature cache in place of `image`.

    Returns:
        `Captioner`.
    """
    suffixes = [f"_{i}" for i in range(members)] if members > 1 else [""]
    context = text_encoder if members == 1 or text_encoder is None else _already_read(text_encoder)
    readers = [
        _build_reader(
            image_encoder,
            context,
            hidden_dim,
            num_heads,
            image_layers,
            intermediate_dim,
            dropout,
            image_dropout,
            name=f"reader{suffix}",
        )
        for suffix in suffixes
    ]
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
    inputs = {**reader.input, "caption_ids": caption_ids}
    read_inputs = dict(reader.input)
    if not from_image_tokens:
        image = keras.Input(image_encoder.input_shape[1:], name="image")
        del inputs["image_tokens"]
        inputs["image"] = image
        read_inputs["image_tokens"] = image_encoder(image)["image_tokens"]
    memory = reader(read_inputs)
    logits = writer.model([caption_ids, memory["memory"], memory["memory_mask"]])
    return Captioner(keras.Model(inputs, logits, name="captioner"), image_encoder, reader, writer)


def _build_reader(
    image_encoder, text_encoder, hidden_dim, num_heads, image_layers, intermediate_dim, dropout, image_dropout, name
):
    features = image_encoder.output_shape["image_tokens"][-1]
    image_tokens = keras.Input((None, features), name="image_tokens")
    inputs = {"image_tokens": image_tokens}
    tokens = keras.layers.Dropout(image_dropout, noise_shape=(None, 1, None), name="image_dropout")(image_tokens)
    tokens = keras.layers.Dense(hidden_dim, name="image_projection")(tokens)
    tokens = keras.layers.LayerNormalization(epsilon=1e-6, name="image_norm")(tokens)
    for i in range(image_layers):
        tokens = TransformerEncoderBlock(hidden_dim, num_heads, intermediate_dim, dropout, name=f"image_block_{i}")(
            tokens
        )
    mask = tf.ones_like(tokens[..., 0], dtype=tf.bool)
    if text_encoder is not None:
        context = {tensor.name: _input_like(tensor) for tensor in text_encoder.inputs}
        inputs |= context
        text_mask = tf.cast(context["input_mask"], tf.bool)
        words = text_encoder(context)["text_tokens"]
        words = keras.layers.Dropout(dropout, name="context_dropout")(words)
        words = keras.layers.Dense(hidden_dim, name="context_projection")(words)
        looked = CrossModalAttention(hidden_dim, num_heads, name="context_attention")(words, tokens, mask)
        words = keras.layers.LayerNormalization(epsilon=1e-6, name="context_norm")(words + looked)
        tokens = tf.concat([tokens, words], axis=1)
        mask = tf.concat([mask, text_mask], axis=1)
    return keras.Model(inputs, {"memory": tokens, "memory_mask": mask}, name=name)


def _already_read(text_encoder):
    """Stands for a text encoder where its `text_tokens` are known: its inputs are these and `input_mask`."""
    tokens = keras.Input(text_encoder.output_shape["text_tokens"][1:], name="text_tokens")
    mask = keras.Input((None,), dtype="int32", name="input_mask")
    return keras.Model({"text_tokens": tokens, "input_mask": mask}, {"text_tokens": tf.identity(tokens)})


def _side_by_side(readers, text_encoder):
    """One reader for an ensemble: a context is encoded once, and the memories stand along the last axis."""
    inputs = {"image_tokens": _input_like(readers[0].input["image_tokens"])}
    known = dict(inputs)
    if text_encoder is not None:
        context = {tensor.name: _input_like(tensor) for tensor in text_encoder.inputs}
        inputs |= context
        known |= {"text_tokens": text_encoder(context)["text_tokens"], "input_mask": context["input_mask"]}
    read = [reader(known) for reader in readers]
    memory = tf.concat([one["memory"] for one in read], axis=-1)
    return keras.Model(inputs, {"memory": memory, "memory_mask": read[0]["memory_mask"]}, name="reader")


def _input_like(tensor):
    return keras.Input(tensor.shape[1:], dtype=tensor.dtype, name=tensor.name)
