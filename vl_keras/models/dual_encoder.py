"""Two encoders into one space, where an image lies near the texts about it."""

from collections.abc import Mapping
from typing import NamedTuple

import tensorflow as tf
import tf_keras as keras

from vl_keras.layers.masked_mean import masked_mean
from vl_keras.layers.similarity_scale import SimilarityScale
from vl_keras.models.token_reader import image_model_inputs, image_tokens, read_tokens, token_inputs


class DualEncoder(NamedTuple):
    """The models of one dual encoder; they share their layers.

    Attributes:
        training_model: images and K texts of each to vectors `(B, E)` and `(B, K, E)`, L2-normalised, and the scalars
            log scale and bias of their similarity. Inputs as of a `PairClassifier`'s.
        image_encoder: `image` `(B, height, width, 3)` to `image_tokens`, `image_mask` and `image_vector`.
        text_encoder: `text_ids` `(M, T)` to `text_tokens` `(M, T, Dt)` and `text_mask` `(M, T)`.
        image_head: `image_tokens` `(B, R, Dv)` and `image_mask` `(B, R)` to `(B, E)`, float32, L2-normalised.
        text_head: `text_tokens` `(M, T, Dt)` and `text_mask` `(M, T)` to `(M, E)`, likewise.
        scale: keras.Model that holds log scale and bias.
    """

    training_model: keras.Model
    image_encoder: keras.Model
    text_encoder: keras.Model
    image_head: keras.Model
    text_head: keras.Model
    scale: keras.Model

    def embed_images(self, inputs: Mapping[str, tf.Tensor]) -> tf.Tensor:
        """Vectors `(B, E)` of a batch's images; inputs as of `models.token_reader.image_tokens`."""
        image = image_tokens(self.image_encoder, inputs)
        return self.image_head({"image_tokens": image.tokens, "image_mask": image.mask}, training=False)

    def embed_texts(self, text_ids: tf.Tensor) -> tf.Tensor:
        """`(M, T)` int32 ids, 0 for padding, to `(M, E)`."""
        return self.text_head(self.text_encoder(text_ids, training=False), training=False)


def build_dual_encoder(
    image_encoder: keras.Model,
    text_encoder: keras.Model,
    embedding_dim: int = 512,
    *,
    log_scale: float | None = None,
    bias: float | None = None,
    hidden_dim: int = 512,
    num_heads: int = 8,
    num_layers: int = 0,
    image_layers: int = 0,
    intermediate_dim: int = 1024,
    dropout: float = 0.1,
    image_dropout: float = 0.1,
    from_image_tokens: bool = False,
    from_text_tokens: bool = False,
) -> DualEncoder:
    """Builds the two heads over two encoders.

    Each side: Transformer blocks where asked for, the mean of the tokens, normalised, and the sum of a linear map and
    of one with a hidden layer into the shared space.

    Args:
        image_encoder: as of `build_image_encoder`.
        text_encoder: as of `build_text_model`.
        embedding_dim: E.
        log_scale, bias: where these start to be learned; None: they are 0 and stay.
        hidden_dim, num_heads: of the Transformer blocks.
        num_layers, image_layers: such blocks over the words and over the image tokens.
        intermediate_dim, dropout: of the blocks and of the hidden layer; `dropout` also on the mean word.
        image_dropout: on the mean image token.
        from_image_tokens, from_text_tokens: the training model takes an encoder's tokens and mask from a cache.

    Returns:
        `DualEncoder`.
    """
    image_width = image_encoder.output_shape["image_tokens"][-1]
    text_width = text_encoder.output_shape["text_tokens"][-1]
    image_sizes = (embedding_dim, hidden_dim, num_heads, intermediate_dim, dropout)
    image_head = build_image_head(image_width, image_layers, image_dropout, *image_sizes)
    sizes = (hidden_dim, num_heads, num_layers, intermediate_dim, dropout)
    text_head = _head("text", text_width, embedding_dim, *sizes, mean_dropout=dropout)

    inputs, read = image_model_inputs(image_encoder, from_image_tokens)
    if from_text_tokens:
        inputs["text_tokens"] = words = keras.Input((None, None, text_width), name="text_tokens")
        inputs["text_mask"] = mask = keras.Input((None, None), dtype="bool", name="text_mask")
    else:
        inputs["text_ids"] = keras.Input((None, None), dtype="int32", name="text_ids")
        text = text_encoder(tf.reshape(inputs["text_ids"], (-1, tf.shape(inputs["text_ids"])[2])))
        words, mask = text["text_tokens"], tf.reshape(text["text_mask"], tf.shape(inputs["text_ids"]))
    images, texts, length = tf.unstack(tf.shape(mask))
    words = tf.reshape(words, (images * texts, length, text_width))
    text = text_head({"text_tokens": words, "text_mask": tf.reshape(mask, (images * texts, length))})
    text = tf.reshape(text, (images, texts, embedding_dim))
    image = image_head({"image_tokens": read.tokens, "image_mask": read.mask})
    vectors = keras.Input((embedding_dim,), name="image_vector")
    scale = keras.Model(vectors, SimilarityScale(log_scale, bias, name="scale")(vectors), name="scale")
    training_model = keras.Model(inputs, (image, text, *scale(image)), name="dual_encoder")
    return DualEncoder(training_model, image_encoder, text_encoder, image_head, text_head, scale)


def build_image_head(
    image_width: int,
    image_layers: int,
    image_dropout: float,
    embedding_dim: int,
    hidden_dim: int,
    num_heads: int,
    intermediate_dim: int,
    dropout: float,
) -> keras.Model:
    """The image side of `build_dual_encoder`.

    Args:
        image_width: Dv of the image tokens.
        image_layers, image_dropout, embedding_dim, hidden_dim, num_heads, intermediate_dim, dropout: as there.

    Returns:
        keras.Model, `image_tokens` `(B, R, Dv)` and `image_mask` `(B, R)` bool to `(B, E)` float32, L2-normalised.
    """
    sizes = (hidden_dim, num_heads, image_layers, intermediate_dim, dropout)
    return _head("image", image_width, embedding_dim, *sizes, mean_dropout=image_dropout)


def _head(
    name: str,
    width: int,
    embedding_dim: int,
    hidden_dim: int,
    num_heads: int,
    num_layers: int,
    intermediate_dim: int,
    dropout: float,
    mean_dropout: float,
) -> keras.Model:
    read = token_inputs(name, width)
    tokens = read.tokens
    if num_layers:
        sizes = (hidden_dim, num_heads, num_layers, intermediate_dim, dropout)
        tokens = read_tokens(name, read, *sizes, norm="projection_norm")
    mean = keras.layers.LayerNormalization(name=f"{name}_norm")(masked_mean(tokens, read.mask))
    mean = keras.layers.Dropout(mean_dropout, name=f"{name}_feature_dropout")(mean)
    hidden = keras.layers.Dense(intermediate_dim, activation="gelu", name=f"{name}_hidden")(mean)
    hidden = keras.layers.Dropout(dropout, name=f"{name}_hidden_dropout")(hidden)
    vector = keras.layers.Dense(embedding_dim, name=f"{name}_vector")(hidden)
    vector += keras.layers.Dense(embedding_dim, name=f"{name}_linear")(mean)
    vector = keras.layers.UnitNormalization(dtype="float32", name=f"{name}_unit")(tf.cast(vector, tf.float32))
    return keras.Model({f"{name}_tokens": read.tokens, f"{name}_mask": read.mask}, vector, name=f"{name}_head")
