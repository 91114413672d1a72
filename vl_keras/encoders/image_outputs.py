"""The outputs that every image encoder gives, made from whatever its network gives."""

import tensorflow as tf
import tf_keras as keras

from vl_keras.layers.every_token import EveryToken
from vl_keras.layers.masked_mean import masked_mean

GRID_LAYER = "image_grid"  # the layer that holds a feature map (B, rows, columns, D)


def image_encoder_model(image: tf.Tensor, features: tf.Tensor, mask: tf.Tensor | None = None) -> keras.Model:
    """Makes an image encoder of a network's output.

    Args:
        image: the `keras.Input` `(B, height, width, 3)`.
        features: a feature map `(B, rows, columns, D)`, whose cells become tokens row by row; tokens `(B, R, D)`; or a
            vector `(B, D)`, which becomes one token.
        mask: `(B, R)` bool, True = real token; None: all of them are.

    Returns:
        Functional `keras.Model` named "image_encoder": `image` -> dict of `image_tokens` `(B, R, D)`, `image_mask`
        `(B, R)` bool and `image_vector` `(B, D)`, the mean of the real tokens.
    """
    width = features.shape[-1]
    if len(features.shape) == 4:
        grid = keras.layers.Activation("linear", name=GRID_LAYER)(features)
        tokens = keras.layers.Reshape((-1, width), name="image_tokens")(grid)
        vector = keras.layers.GlobalAveragePooling2D(name="image_vector")(grid)
    elif len(features.shape) == 2:
        vector = keras.layers.Activation("linear", name="image_vector")(features)
        tokens = keras.layers.Reshape((1, width), name="image_tokens")(vector)
    else:
        tokens = keras.layers.Activation("linear", name="image_tokens")(features)
        vector = keras.layers.Activation("linear", name="image_vector")(
            tf.reduce_mean(tokens, axis=1) if mask is None else masked_mean(tokens, mask)
        )
    if mask is None:
        mask = EveryToken(name="image_mask")(tokens)
    outputs = {"image_tokens": tokens, "image_mask": mask, "image_vector": vector}
    return keras.Model(image, outputs, name="image_encoder")
