"""Models that read an image together with a text: an answer among candidates, or match and no match."""

import inspect
from typing import NamedTuple

import tensorflow as tf
import tf_keras as keras

from vl_keras.layers.fusion import FUSIONS
from vl_keras.layers.masked_mean import masked_mean
from vl_keras.layers.transformer_blocks import TransformerEncoderBlock

_NO_TEXT = -1e9  # logit


class PairClassifier(NamedTuple):
    """The models of one classifier of image-text pairs; they share their layers.

    Attributes:
        training_model: images and K texts of each to `(B, K, A)` float32 logits. Inputs: `image`
            `(B, height, width, 3)`, 0 to 255, or `image_tokens` `(B, R, Dv)`; `text_ids` `(B, K, T)` int32, or
            `text_tokens` `(B, K, T, Dt)` with `text_mask` `(B, K, T)` bool.
        image_encoder: `image` to `image_tokens` and `image_vector`.
        text_encoder: `text_ids` `(P, T)` to `(P, T, Dt)`.
        image_reader: `image_tokens` to `(B, R, D)`.
        pair_reader: `image_regions` `(P, R, D)`, `text_tokens` `(P, T, Dt)` and `text_mask` `(P, T)` to `logits`
            `(P, A)` and, where the fusion attends, `attention` `(P, T, R)`.
    """

    training_model: keras.Model
    image_encoder: keras.Model
    text_encoder: keras.Model
    image_reader: keras.Model
    pair_reader: keras.Model

    def read_images(self, inputs):
        """`image` or `image_tokens` of a dict, to regions `(B, R, D)`."""
        tokens = inputs["image_tokens"] if "image_tokens" in inputs else None
        if tokens is None:
            tokens = self.image_encoder(inputs["image"], training=False)["image_tokens"]
        return self.image_reader(tokens, training=False)

    def answer(self, regions, text_ids):
        """`pair_reader`'s outputs for regions `(P, R, D)` and ids `(P, T)`."""
        tokens = self.text_encoder(text_ids, training=False)
        return self.pair_reader(
            {"image_regions": regions, "text_tokens": tokens, "text_mask": text_ids != 0}, training=False
        )


def build_pair_classifier(
    image_encoder,
    text_encoder,
    num_outputs,
    *,
    fusion="co_attention",
    reads="both",
    hidden_dim=256,
    num_heads=8,
    num_layers=2,
    image_layers=0,
    intermediate_dim=512,
    dropout=0.1,
    image_dropout=0.1,
    from_image_tokens=False,
    from_text_tokens=False,
    all_pairs=False,
):
    """Builds a classifier around two encoders.

    Args:
        image_encoder: keras.Model, `(B, height, width, 3)` to `{"image_tokens": (B, R, Dv), …}`.
        text_encoder: keras.Model, `text_ids` `(P, T)` to `(P, T, Dt)`.
        num_outputs: A.
        fusion: name in `FUSIONS`.
        reads: `both`; `text` or `image`: the other is blanked, which gives a baseline.
        hidden_dim: D, of everything after the encoders.
        num_heads, num_layers, intermediate_dim, dropout: of the fusion, where it has them.
        image_layers: Transformer encoder blocks over the image tokens.
        image_dropout: on the encoder's features; a dropped feature is missing from all R tokens.
        from_image_tokens, from_text_tokens: the training model takes an encoder's tokens from a cache.
        all_pairs: the training model pairs every text with every image: logits `(B, B*K, A)`, very low where there
            is no text.

    Returns:
        `PairClassifier`.
    """
    image_reader = _image_reader(
        image_encoder, hidden_dim, num_heads, image_layers, intermediate_dim, dropout, image_dropout
    )
    settings = {
        "num_heads": num_heads,
        "num_layers": num_layers,
        "intermediate_dim": intermediate_dim,
        "dropout": dropout,
    }
    pair_reader = _pair_reader(text_encoder.output_shape[-1], num_outputs, fusion, reads, hidden_dim, settings)
    inputs = {}
    if from_image_tokens:
        inputs["image_tokens"] = tokens = keras.Input(image_reader.input_shape[1:], name="image_tokens")
    else:
        inputs["image"] = keras.Input(image_encoder.input_shape[1:], name="image")
        tokens = image_encoder(inputs["image"])["image_tokens"]
    regions = image_reader(tokens)
    if from_text_tokens:
        inputs["text_tokens"] = keras.Input((None, None, text_encoder.output_shape[-1]), name="text_tokens")
        inputs["text_mask"] = keras.Input((None, None), dtype="bool", name="text_mask")
        mask, words = inputs["text_mask"], inputs["text_tokens"]
    else:
        inputs["text_ids"] = keras.Input((None, None), dtype="int32", name="text_ids")
        mask = inputs["text_ids"] != 0
        ids = tf.reshape(inputs["text_ids"], (-1, tf.shape(mask)[2]))
        words = text_encoder(ids)
    images, texts, length = tf.unstack(tf.shape(mask))
    words = tf.reshape(words, (images * texts, length, text_encoder.output_shape[-1]))
    mask = tf.reshape(mask, (images * texts, length))
    if FUSIONS[fusion].reads != "tokens":  # a fusion of means reads the same of the mean alone, which is less to repeat
        words = masked_mean(words, mask)[:, None]
        mask = tf.reduce_any(mask, axis=1, keepdims=True)
        regions = masked_mean(regions, tf.ones_like(regions[..., 0], dtype=tf.bool))[:, None]
    if all_pairs:
        regions = tf.repeat(regions, images * texts, axis=0)
        words, mask, texts = tf.tile(words, (images, 1, 1)), tf.tile(mask, (images, 1)), images * texts
    else:
        regions = tf.repeat(regions, texts, axis=0)
    logits = pair_reader({"image_regions": regions, "text_tokens": words, "text_mask": mask})["logits"]
    if all_pairs:  # where an image has fewer than K texts, what stands for the others is nobody's negative
        logits = tf.where(tf.reduce_any(mask, axis=1)[:, None], logits, _NO_TEXT)
    logits = tf.reshape(logits, (images, texts, num_outputs))
    training_model = keras.Model(inputs, logits, name="pair_classifier")
    return PairClassifier(training_model, image_encoder, text_encoder, image_reader, pair_reader)


def _image_reader(image_encoder, hidden_dim, num_heads, image_layers, intermediate_dim, dropout, image_dropout):
    tokens = image_tokens = keras.Input((None, image_encoder.output_shape["image_tokens"][-1]), name="image_tokens")
    tokens = keras.layers.Dropout(image_dropout, noise_shape=(None, 1, None), name="image_dropout")(tokens)
    tokens = keras.layers.Dense(hidden_dim, name="image_projection")(tokens)
    tokens = keras.layers.LayerNormalization(epsilon=1e-6, name="image_norm")(tokens)
    for i in range(image_layers):
        tokens = TransformerEncoderBlock(hidden_dim, num_heads, intermediate_dim, dropout, name=f"image_block_{i}")(
            tokens
        )
    return keras.Model(image_tokens, tokens, name="image_reader")


def _pair_reader(text_dim, num_outputs, fusion, reads, hidden_dim, settings):
    regions = keras.Input((None, hidden_dim), name="image_regions")
    words = keras.Input((None, text_dim), name="text_tokens")
    text_mask = keras.Input((None,), dtype="bool", name="text_mask")
    inputs = {"image_regions": regions, "text_tokens": words, "text_mask": text_mask}
    image_mask = tf.ones_like(regions[..., 0], dtype=tf.bool)
    words = keras.layers.Dropout(settings["dropout"], name="text_dropout")(words)
    if reads == "text":
        regions = tf.zeros_like(regions)
    if reads == "image":
        words = tf.zeros_like(words)
    kind = FUSIONS[fusion]
    attention = None
    if kind.reads == "tokens":
        known = {name: value for name, value in settings.items() if name in _init_arguments(kind)}
        fused, attention = kind(hidden_dim, **known, name="fusion")(
            words, text_mask, regions, image_mask, return_attention_scores=True
        )
    else:
        vectors = masked_mean(words, text_mask), masked_mean(regions, image_mask)
        if kind.reads == "scores":
            heads = (_head(num_outputs, hidden_dim, settings["dropout"], name) for name in ("text", "image"))
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


def _head(num_outputs, hidden_dim, dropout, name):
    return keras.Sequential(
        [
            keras.layers.Dense(hidden_dim, activation="gelu", name="hidden"),
            keras.layers.LayerNormalization(epsilon=1e-6, name="norm"),
            keras.layers.Dropout(dropout, name="dropout"),
            keras.layers.Dense(num_outputs, dtype="float32", name="logits"),
        ],
        name=f"{name}_head",
    )


def _init_arguments(kind):
    return inspect.signature(kind.__init__).parameters
