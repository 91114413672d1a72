"""Models that read an image together with a text: an answer among candidates, or match and no match."""

import inspect
from collections.abc import Mapping
from typing import Any, NamedTuple

import tensorflow as tf
import tf_keras as keras

from vl_keras.layers.fusion import FUSIONS
from vl_keras.layers.masked_mean import masked_mean
from vl_keras.models.token_reader import MaskedTokens, image_model_inputs, image_tokens, read_tokens, token_inputs

_NO_TEXT = -1e9  # logit


class PairClassifier(NamedTuple):
    """The models of one classifier of image-text pairs; they share their layers.

    Attributes:
        training_model: images and K texts of each to `(B, K, A)` float32 logits. Inputs: `image`
            `(B, height, width, 3)`, 0 to 255, or `image_tokens` `(B, R, Dv)` and `image_mask` `(B, R)` bool; `text_ids`
            `(B, K, T)` int32, or `text_tokens` `(B, K, T, Dt)` with `text_mask` `(B, K, T)` bool; and those of each
            other stream.
        image_encoder: `image` to `image_tokens`, `image_mask` and `image_vector`.
        text_encoder: `text_ids` `(P, T)` to `text_tokens` `(P, T, Dt)` and `text_mask` `(P, T)`.
        image_reader: `image_tokens` and `image_mask` to `(B, R, D)`.
        pair_reader: `image_regions` `(P, R, D)`, `image_mask` `(P, R)`, `text_tokens` `(P, T, Dt)`, `text_mask`
            `(P, T)`, and tokens and mask of each other stream, to `logits` `(P, A)` and, where the fusion attends,
            `attention` `(P, T, R)`.
        stream_encoders: name of each other stream -> its encoder, None where batches carry its tokens.
    """

    training_model: keras.Model
    image_encoder: keras.Model
    text_encoder: keras.Model
    image_reader: keras.Model
    pair_reader: keras.Model
    stream_encoders: Mapping[str, keras.Model | None] = {}

    def parts(self) -> dict[str, keras.Model]:
        """Everything that has weights, by name, as checkpoints store it."""
        names = ("image_encoder", "text_encoder", "image_reader", "pair_reader")
        own = {name: getattr(self, name) for name in names}
        return own | {f"{name}_encoder": encoder for name, encoder in self.stream_encoders.items() if encoder}

    def read_images(self, inputs: Mapping[str, tf.Tensor]) -> MaskedTokens:
        """The regions `(B, R, D)` of a batch's images; inputs as of `models.token_reader.image_tokens`."""
        image = image_tokens(self.image_encoder, inputs)
        regions = self.image_reader({"image_tokens": image.tokens, "image_mask": image.mask}, training=False)
        return MaskedTokens(regions, image.mask)

    def read_streams(self, inputs: Mapping[str, tf.Tensor]) -> dict[str, MaskedTokens]:
        """The tokens of each other stream, by its name; inputs as of the training model."""
        streams = {}
        for name, encoder in self.stream_encoders.items():
            known = inputs
            if encoder is not None:
                known = encoder({key: inputs[key] for key in encoder.input_names}, training=False)
            streams[name] = MaskedTokens(known[f"{name}_tokens"], known[f"{name}_mask"])
        return streams

    def answer(
        self, regions: MaskedTokens, text_ids: tf.Tensor, streams: Mapping[str, MaskedTokens] | None = None
    ) -> dict[str, tf.Tensor]:
        """The outputs of `pair_reader` for P images' regions and as many texts.

        Args:
            regions: of `read_images`, a row for each text.
            text_ids: `(P, T)` int32, 0 for padding.
            streams: of `read_streams`, a row for each text; needed where the model has other streams.
        """
        text = self.text_encoder(text_ids, training=False)
        inputs = pair_inputs(regions, MaskedTokens(text["text_tokens"], text["text_mask"]), streams or {})
        return self.pair_reader(inputs, training=False)


def pair_inputs(
    regions: MaskedTokens, text: MaskedTokens, streams: Mapping[str, MaskedTokens] | None = None
) -> dict[str, tf.Tensor]:
    """The inputs of a `pair_reader`: P images' regions, as many texts, and as many rows of each other stream."""
    inputs = {"image_regions": regions.tokens, "image_mask": regions.mask}
    for name, read in {"text": text, **(streams or {})}.items():
        inputs |= {f"{name}_tokens": read.tokens, f"{name}_mask": read.mask}
    return inputs


def build_pair_classifier(
    image_encoder: keras.Model,
    text_encoder: keras.Model,
    num_outputs: int,
    *,
    fusion: str = "co_attention",
    reads: str = "both",
    hidden_dim: int = 256,
    num_heads: int = 8,
    num_layers: int = 2,
    image_layers: int = 0,
    intermediate_dim: int = 512,
    dropout: float = 0.1,
    image_dropout: float = 0.1,
    from_image_tokens: bool = False,
    from_text_tokens: bool = False,
    all_pairs: bool = False,
    streams: Mapping[str, int | keras.Model] | None = None,
) -> PairClassifier:
    """Builds a classifier around two encoders, and those of other streams.

    Args:
        image_encoder: as of `build_image_encoder`.
        text_encoder: as of `build_text_model`.
        num_outputs: A.
        fusion: name in `FUSIONS`.
        reads: `both`: everything; `text`, `image` or the name of another stream: all else is blanked, which gives a
            baseline.
        hidden_dim: D, of everything after the encoders.
        num_heads, num_layers, intermediate_dim, dropout: of the fusion, where it has them.
        image_layers: Transformer encoder blocks over the image tokens.
        image_dropout: on the encoder's features; a dropped feature is missing from all R tokens.
        from_image_tokens, from_text_tokens: the training model takes an encoder's tokens and mask from a cache.
        all_pairs: the training model pairs every text with every image: logits `(B, B*K, A)`, very low where there
            is no text.
        streams: what is read beside image and text, name -> W, where batches carry `NAME_tokens` `(B, S, W)` float and
            `NAME_mask` `(B, S)` bool; or name -> an encoder, a keras.Model from a dict of what batches carry to these
            two. A row whose mask is all false has no such stream. Needs a fusion that takes more than two streams.

    Returns:
        `PairClassifier`.

    Raises:
        ValueError: `streams` with a fusion that takes exactly two.
    """
    streams = dict(streams or {})
    _check_streams(streams, fusion)
    encoders, widths = {}, {}
    for name, stream in streams.items():
        encoders[name] = stream if isinstance(stream, keras.Model) else None
        widths[name] = stream.output_shape[f"{name}_tokens"][-1] if isinstance(stream, keras.Model) else stream
    image_reader = _image_reader(
        image_encoder, hidden_dim, num_heads, image_layers, intermediate_dim, dropout, image_dropout
    )
    settings = {
        "num_heads": num_heads,
        "num_layers": num_layers,
        "intermediate_dim": intermediate_dim,
        "dropout": dropout,
    }
    text_width = text_encoder.output_shape["text_tokens"][-1]
    pair_reader = _pair_reader(text_width, widths, num_outputs, fusion, reads, hidden_dim, settings)
    inputs, image = image_model_inputs(image_encoder, from_image_tokens)
    regions = MaskedTokens(image_reader({"image_tokens": image.tokens, "image_mask": image.mask}), image.mask)
    if from_text_tokens:
        inputs["text_tokens"] = words = keras.Input((None, None, text_width), name="text_tokens")
        inputs["text_mask"] = mask = keras.Input((None, None), dtype="bool", name="text_mask")
    else:
        inputs["text_ids"] = keras.Input((None, None), dtype="int32", name="text_ids")
        text = text_encoder(tf.reshape(inputs["text_ids"], (-1, tf.shape(inputs["text_ids"])[2])))
        words, mask = text["text_tokens"], tf.reshape(text["text_mask"], tf.shape(inputs["text_ids"]))
    images, texts, length = tf.unstack(tf.shape(mask))
    words = tf.reshape(words, (images * texts, length, text_width))
    mask = tf.reshape(mask, (images * texts, length))
    if FUSIONS[fusion].reads != "tokens":  # a fusion of means reads the same of the mean alone, which is less to repeat
        words, mask = _mean_as_token(MaskedTokens(words, mask))
        regions = _mean_as_token(regions)
    others = {}
    for name, encoder in encoders.items():
        own, others[name] = _stream(name, encoder, widths[name])
        inputs |= own
    if all_pairs:
        repeats = images * texts
        words, mask, texts = tf.tile(words, (images, 1, 1)), tf.tile(mask, (images, 1)), repeats
    else:
        repeats = texts
    others = {name: read.repeated(repeats) for name, read in others.items()}
    logits = pair_reader(pair_inputs(regions.repeated(repeats), MaskedTokens(words, mask), others))["logits"]
    if all_pairs:  # where an image has fewer than K texts, what stands for the others is nobody's negative
        logits = tf.where(tf.reduce_any(mask, axis=1)[:, None], logits, _NO_TEXT)
    logits = tf.reshape(logits, (images, texts, num_outputs))
    training_model = keras.Model(inputs, logits, name="pair_classifier")
    return PairClassifier(training_model, image_encoder, text_encoder, image_reader, pair_reader, encoders)


def _check_streams(streams: Mapping[str, int | keras.Model], fusion: str) -> None:
    if streams and not getattr(FUSIONS[fusion], "takes_more_streams", False):
        able = ", ".join(name for name, kind in FUSIONS.items() if getattr(kind, "takes_more_streams", False))
        raise ValueError(
            f"`fusion` {fusion} joins exactly two streams, a text and an image; for {', '.join(streams)} beside them "
            f"it must be one of: {able}."
        )
    taken = {"text", "image"}.intersection(streams)
    if taken:
        raise ValueError(f"`streams` must have names of their own; got {', '.join(sorted(taken))}.")


def _stream(name: str, encoder: keras.Model | None, width: int) -> tuple[dict[str, tf.Tensor], MaskedTokens]:
    """The `keras.Input`s of another stream, and its tokens and mask."""
    if encoder is None:
        read = token_inputs(name, width)
        return {f"{name}_tokens": read.tokens, f"{name}_mask": read.mask}, read
    inputs = {
        tensor.name: keras.Input(tensor.shape[1:], dtype=tensor.dtype, name=tensor.name) for tensor in encoder.inputs
    }
    read = encoder(inputs)
    return inputs, MaskedTokens(read[f"{name}_tokens"], read[f"{name}_mask"])


def _mean_as_token(read: MaskedTokens) -> MaskedTokens:
    """The mean of the real tokens as the only one."""
    mask = tf.reduce_any(read.mask, axis=1, keepdims=True)
    return MaskedTokens(masked_mean(read.tokens, read.mask)[:, None], mask)


def _image_reader(
    image_encoder: keras.Model,
    hidden_dim: int,
    num_heads: int,
    image_layers: int,
    intermediate_dim: int,
    dropout: float,
    image_dropout: float,
) -> keras.Model:
    image = token_inputs("image", image_encoder.output_shape["image_tokens"][-1])
    sizes = (hidden_dim, num_heads, image_layers, intermediate_dim, dropout)
    regions = read_tokens("image", image, *sizes, feature_dropout=image_dropout)
    return keras.Model({"image_tokens": image.tokens, "image_mask": image.mask}, regions, name="image_reader")


def _pair_reader(
    text_dim: int,
    widths: Mapping[str, int],
    num_outputs: int,
    fusion: str,
    reads: str,
    hidden_dim: int,
    settings: Mapping[str, Any],
) -> keras.Model:
    regions = keras.Input((None, hidden_dim), name="image_regions")
    image_mask = keras.Input((None,), dtype="bool", name="image_mask")
    image = MaskedTokens(regions, image_mask)
    read = {name: token_inputs(name, width) for name, width in {"text": text_dim, **widths}.items()}
    inputs = pair_inputs(image, read["text"], {name: read[name] for name in widths})
    # A fusion's order: text, image, then the others.
    seen = {"text": read.pop("text"), "image": image, **read}
    for name, one in seen.items():
        tokens = one.tokens
        if name != "image":  # whose reader has dropout of its own
            tokens = keras.layers.Dropout(settings["dropout"], name=f"{name}_dropout")(tokens)
        if reads not in ("both", name):
            tokens = tf.zeros_like(tokens)
        seen[name] = MaskedTokens(tokens, one.mask)
    kind = FUSIONS[fusion]
    attention = None
    if kind.reads == "tokens":
        known: dict[str, Any] = {name: value for name, value in settings.items() if name in _init_arguments(kind)}
        if "streams" in _init_arguments(kind):
            known["streams"] = tuple(seen)
        flat = [part for one in seen.values() for part in one]
        fused, attention = kind(hidden_dim, **known, name="fusion")(*flat, return_attention_scores=True)
    else:
        vectors = [masked_mean(one.tokens, one.mask) for one in seen.values()]
        if kind.reads == "scores":
            heads = [_head(num_outputs, hidden_dim, settings["dropout"], name) for name in seen]
            scores = [head(vector) for head, vector in zip(heads, vectors, strict=True)]
            fused = kind(name="fusion")(*scores)
        else:
            fused = kind(hidden_dim, name="fusion")(*vectors)
    if kind.reads == "scores":
        logits = keras.layers.Activation("linear", dtype="float32", name="logits")(fused)
    else:
        logits = _head(num_outputs, hidden_dim, settings["dropout"], "answer")(fused)
    outputs = {"logits": logits}
    if attention is not None:
        outputs["attention"] = attention
    return keras.Model(inputs, outputs, name="pair_reader")


def _head(num_outputs: int, hidden_dim: int, dropout: float, name: str) -> keras.Sequential:
    return keras.Sequential(
        [
            keras.layers.Dense(hidden_dim, activation="gelu", name="hidden"),
            keras.layers.LayerNormalization(epsilon=1e-6, name="norm"),
            keras.layers.Dropout(dropout, name="dropout"),
            keras.layers.Dense(num_outputs, dtype="float32", name="logits"),
        ],
        name=f"{name}_head",
    )


def _init_arguments(kind: type) -> Mapping[str, inspect.Parameter]:
    return inspect.signature(kind.__init__).parameters  # type: ignore[misc]
