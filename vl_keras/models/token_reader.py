"""What every model does with the tokens of one modality before it joins them with another."""

from collections.abc import Mapping
from typing import NamedTuple

import tensorflow as tf
import tf_keras as keras

from vl_keras.layers.every_token import EveryToken
from vl_keras.layers.transformer_blocks import TransformerEncoderBlock


class MaskedTokens(NamedTuple):
    """Tokens and which of them are real.

    Attributes:
        tokens: `(B, R, D)` float.
        mask: `(B, R)` bool, True = real token. A row without any is an example without this modality.
    """

    tokens: tf.Tensor
    mask: tf.Tensor

    def rows(self, places: tf.Tensor) -> "MaskedTokens":
        """The tokens of the rows with these `(P,)` indices."""
        return MaskedTokens(tf.gather(self.tokens, places), tf.gather(self.mask, places))

    def repeated(self, times: tf.Tensor | int) -> "MaskedTokens":
        """Each row so many times, one after the other."""
        return MaskedTokens(tf.repeat(self.tokens, times, axis=0), tf.repeat(self.mask, times, axis=0))


def image_tokens(image_encoder: keras.Model, inputs: Mapping[str, tf.Tensor]) -> MaskedTokens:
    """The image tokens of a batch: those that it carries, else those of its images.

    Args:
        image_encoder: as of `build_image_encoder`; it runs in inference mode.
        inputs: `image_tokens` `(B, R, Dv)` and `image_mask` `(B, R)` bool; or `image` `(B, height, width, 3)`, 0 to
            255, and `image_mask` `(B,)` bool, False where an example has no image. Without a mask all of it is real.
    """
    given = inputs.get("image_mask")
    if "image_tokens" in inputs:
        tokens = inputs["image_tokens"]
        return MaskedTokens(tokens, EveryToken()(tokens) if given is None else given)
    read = image_encoder(inputs["image"], training=False)
    mask = read["image_mask"] if given is None else read["image_mask"] & given[:, None]
    return MaskedTokens(read["image_tokens"], mask)


def image_model_inputs(image_encoder: keras.Model, from_tokens: bool) -> tuple[dict[str, tf.Tensor], MaskedTokens]:
    """The image side of a training model.

    Args:
        image_encoder: as of `build_image_encoder`.
        from_tokens: the model reads `image_tokens` and `image_mask`, from a feature cache, in place of `image`.

    Returns:
        Dict of name -> `keras.Input`, and the image tokens that follow from them.
    """
    if from_tokens:
        tokens = token_inputs("image", image_encoder.output_shape["image_tokens"][-1])
        return {"image_tokens": tokens.tokens, "image_mask": tokens.mask}, tokens
    image = keras.Input(image_encoder.input_shape[1:], name="image")
    read = image_encoder(image)
    return {"image": image}, MaskedTokens(read["image_tokens"], read["image_mask"])


def token_inputs(name: str, width: int) -> MaskedTokens:
    """`keras.Input`s named `NAME_tokens` `(B, R, width)` and `NAME_mask` `(B, R)` bool."""
    return MaskedTokens(
        keras.Input((None, width), name=f"{name}_tokens"), keras.Input((None,), dtype="bool", name=f"{name}_mask")
    )


def read_tokens(
    name: str,
    read: MaskedTokens,
    hidden_dim: int,
    num_heads: int,
    num_layers: int,
    intermediate_dim: int,
    dropout: float,
    feature_dropout: float = 0.0,
    norm: str = "norm",
) -> tf.Tensor:
    """Builds a token reader into a functional model: dropout, projection, norm, Transformer encoder blocks.

    Args:
        name: of the modality; the layers are `NAME_dropout`, `NAME_projection`, `NAME_norm`, `NAME_block_0` and so on.
        read: the encoder's tokens `(B, R, any width)` and mask.
        hidden_dim: D; must be divisible by `num_heads` where there are blocks.
        num_heads, num_layers, intermediate_dim, dropout: of the blocks; without any, only the projection is left.
        feature_dropout: on the encoder's features; a dropped feature is missing from all R tokens.
        norm: how the norm's name ends.

    Returns:
        `(B, R, hidden_dim)`, zeros at padding.
    """
    tokens = read.tokens
    tokens = keras.layers.Dropout(feature_dropout, noise_shape=(None, 1, None), name=f"{name}_dropout")(tokens)
    tokens = keras.layers.Dense(hidden_dim, name=f"{name}_projection")(tokens)
    tokens = keras.layers.LayerNormalization(epsilon=1e-6, name=f"{name}_{norm}")(tokens)
    for i in range(num_layers):
        block = TransformerEncoderBlock(hidden_dim, num_heads, intermediate_dim, dropout, name=f"{name}_block_{i}")
        tokens = block(tokens, read.mask)
    return tf.where(read.mask[..., None], tokens, tf.zeros_like(tokens))
