"""Two encoders into one space, where an image lies near the texts about it."""

from typing import NamedTuple

import tensorflow as tf
import tf_keras as keras

from vl_keras.layers.masked_mean import masked_mean
from vl_keras.layers.similarity_scale import SimilarityScale
from vl_keras.layers.transformer_blocks import TransformerEncoderBlock


class DualEncoder(NamedTuple):
    """The models of one dual encoder; they share their layers.

    Attributes:
        training_model: images and K texts of each to vectors `(B, E)` and `(B, K, E)`, L2-normalised, and the scalars
            log scale and bias of their similarity. Inputs as of a `PairClassifier`'s.
        image_encoder: `image` `(B, height, width, 3)` to `image_tokens` and `image_vector`.
        text_encoder: `text_ids` `(M, T)` to `(M, T, Dt)`.
        image_head: `image_tokens` `(B, R, Dv)` to `(B, E)`, float32, L2-normalised.
        text_head: `text_tokens` `(M, T, Dt)` and `text_mask` `(M, T)` to `(M, E)`, likewise.
        scale: keras.Model that holds log scale and bias.
    """

    training_model: keras.Model
    image_encoder: keras.Model
    text_encoder: keras.Model
    image_head: keras.Model
    text_head: keras.Model
    scale: keras.Model

    def embed_images(self, inputs):
        """`image` `(B, height, width, 3)` or `image_tokens` of a dict, to `(B, E)`."""
        tokens = inputs["image_tokens"] if "image_tokens" in inputs else None
        if tokens is None:
            tokens = self.image_encoder(inputs["image"], training=False)["image_tokens"]
        return self.image_head(tokens, training=False)

    def embed_texts(self, text_ids):
        """`(M, T)` int32 ids, 0 for padding, to `(M, E)`."""
        tokens = self.text_encoder(text_ids, training=False)
        return self.text_head({"text_tokens": tokens, "text_mask": text_ids != 0}, training=False)


def build_dual_encoder(
    image_encoder,
    text_encoder,
    embedding_dim=512,
    *,
    log_scale=None,
    bias=None,
    hidden_dim=512,
    num_heads=8,
    num_layers=0,
    image_layers=0,
    intermediate_dim=1024,
    dropout=0.1,
    image_dropout=0.1,
    from_image_tokens=False,
    from_text_tokens=False,
):
    """Builds the two heads over two encoders.

    Each side: Transformer blocks where asked for, the mean of the tokens, normalised, and the sum of a linear map and
    of one with a hidden layer into the shared space.

    Args:
        image_encoder: keras.Model, `(B, height, width, 3)` to `{"image_tokens": (B, R, Dv), …}`.
        text_encoder: keras.Model, `text_ids` `(M, T)` to `(M, T, Dt)`.
        embedding_dim: E.
        log_scale, bias: where these start to be learned; None: they are 0 and stay.
        hidden_dim, num_heads: of the Transformer blocks.
        num_layers, image_layers: such blocks over the words and over the image tokens.
        intermediate_dim, dropout: of the blocks and of the hidden layer; `dropout` also on the mean word.
        image_dropout: on the mean image token.
        from_image_tokens, from_text_tokens: the training model takes an encoder's tokens from a cache.

    Returns:
        `DualEncoder`.
    """
    settings = (embedding_dim, hidden_dim, num_heads, intermediate_dim, dropout)
    image_width = image_encoder.output_shape["image_tokens"][-1]
    image_head = build_image_head(image_width, image_layers, image_dropout, *settings)
    text_tokens = keras.Input((None, text_encoder.output_shape[-1]), name="text_tokens")
    text_mask = keras.Input((None,), dtype="bool", name="text_mask")
    text_vector = _head(text_tokens, text_mask, "text", num_layers, dropout, *settings)
    text_head = keras.Model({"text_tokens": text_tokens, "text_mask": text_mask}, text_vector, name="text_head")

    inputs = {}
    if from_image_tokens:
        inputs["image_tokens"] = tokens = keras.Input((None, image_width), name="image_tokens")
    else:
        inputs["image"] = keras.Input(image_encoder.input_shape[1:], name="image")
        tokens = image_encoder(inputs["image"])["image_tokens"]
    if from_text_tokens:
        inputs["text_tokens"] = keras.Input((None, *text_tokens.shape[1:]), name="text_tokens")
        inputs["text_mask"] = keras.Input((None, None), dtype="bool", name="text_mask")
        mask, words = inputs["text_mask"], inputs["text_tokens"]
    else:
        inputs["text_ids"] = keras.Input((None, None), dtype="int32", name="text_ids")
        mask = inputs["text_ids"] != 0
        words = text_encoder(tf.reshape(inputs["text_ids"], (-1, tf.shape(mask)[2])))
    images, texts, length = tf.unstack(tf.shape(mask))
    words = tf.reshape(words, (images * texts, length, text_encoder.output_shape[-1]))
    text = text_head({"text_tokens": words, "text_mask": tf.reshape(mask, (images * texts, length))})
    text = tf.reshape(text, (images, texts, embedding_dim))
    image = image_head(tokens)
    vectors = keras.Input((embedding_dim,), name="image_vector")
    scale = keras.Model(vectors, SimilarityScale(log_scale, bias, name="scale")(vectors), name="scale")
    training_model = keras.Model(inputs, (image, text, *scale(image)), name="dual_encoder")
    return DualEncoder(training_model, image_encoder, text_encoder, image_head, text_head, scale)


def build_image_head(
    image_width, image_layers, image_dropout, embedding_dim, hidden_dim, num_heads, intermediate_dim, dropout
):
    """The image side of `build_dual_encoder`.

    Args:
        image_width: Dv of the image tokens.
        image_layers, image_dropout, embedding_dim, hidden_dim, num_heads, intermediate_dim, dropout: as there.

    Returns:
        keras.Model, `image_tokens` `(B, R, Dv)` to `(B, E)` float32, L2-normalised.
    """
    tokens = keras.Input((None, image_width), name="image_tokens")
    vector = _head(
        tokens,
        None,
        "image",
        image_layers,
        image_dropout,
        embedding_dim,
        hidden_dim,
        num_heads,
        intermediate_dim,
        dropout,
    )
    return keras.Model(tokens, vector, name="image_head")


def _head(tokens, mask, name, layers, feature_dropout, embedding_dim, hidden_dim, num_heads, intermediate_dim, dropout):
    if mask is None:
        mask = tf.ones_like(tokens[..., 0], dtype=tf.bool)
    if layers:
        tokens = keras.layers.Dense(hidden_dim, name=f"{name}_projection")(tokens)
        tokens = keras.layers.LayerNormalization(epsilon=1e-6, name=f"{name}_projection_norm")(tokens)
    for i in range(layers):
        tokens = TransformerEncoderBlock(hidden_dim, num_heads, intermediate_dim, dropout, name=f"{name}_block_{i}")(
            tokens, mask
        )
    mean = keras.layers.LayerNormalization(name=f"{name}_norm")(masked_mean(tokens, mask))
    mean = keras.layers.Dropout(feature_dropout, name=f"{name}_feature_dropout")(mean)
    hidden = keras.layers.Dense(intermediate_dim, activation="gelu", name=f"{name}_hidden")(mean)
    hidden = keras.layers.Dropout(dropout, name=f"{name}_hidden_dropout")(hidden)
    vector = keras.layers.Dense(embedding_dim, name=f"{name}_vector")(hidden)
    vector += keras.layers.Dense(embedding_dim, name=f"{name}_linear")(mean)
    return keras.layers.UnitNormalization(dtype="float32", name=f"{name}_unit")(tf.cast(vector, tf.float32))
