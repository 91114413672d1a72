"""Images to tokens and one vector, with a network of one's choice."""

from collections.abc import Callable

import tf_keras as keras

from vl_keras.encoders.application_encoder import application_encoder
from vl_keras.encoders.hub_image_encoder import hub_image_encoder
from vl_keras.encoders.keras_image_encoder import keras_image_encoder

# By the form of `image_encoder.backbone`: `KIND:SOURCE`; a name without a colon is an application's.
IMAGE_ENCODERS: dict[str, Callable[..., keras.Model]] = {
    "application": application_encoder,
    "hub": hub_image_encoder,
    "keras": keras_image_encoder,
}


def build_image_encoder(
    backbone: str,
    weights: str,
    trainable_from: str = "",
    image_size: tuple[int, int] | None = None,
    load_weights: bool = True,
) -> keras.Model:
    """Builds the image encoder, preprocessing included.

    Args:
        backbone: which network reads the images:
            a name in `tf_keras.applications`, e.g. `ResNet50`, or `SmallCNN`: see `application_encoder`;
            `hub:HANDLE`, the URL or folder of a TensorFlow Hub module (a SavedModel): see `hub_image_encoder`;
            `keras:PATH#LAYER`, a saved Keras model and the layer whose output is taken: see `keras_image_encoder`.
        weights: `imagenet`, `none` (random) or a weights file, of an application. The others bring their own weights;
            for them it is `imagenet` (the default) or `none`, which both mean their own.
        trainable_from: empty: the encoder is frozen; `all`; or the name of the first layer that is trained.
        image_size: height and width in pixels, if fixed; None: images of any size.
        load_weights: false: an application's weights stay random, because those of a trained run follow; how the
            network runs is still decided by `weights` and `trainable_from`.

    Returns:
        Functional `keras.Model`: `image` `(B, height, width, 3)` RGB, 0 to 255 -> dict of `image_tokens` `(B, R, D)`
        (a feature map's cells row by row), `image_mask` `(B, R)` bool, True = real token, and `image_vector` `(B, D)`
        (the mean of the tokens). `token_layout` says what the tokens are.

    Raises:
        EncoderError: there is no such network, layer or file, or it does not fit; names the setting and the rule.
    """
    kind, source = backbone_kind(backbone)
    return IMAGE_ENCODERS[kind](source, weights, trainable_from, image_size, load_weights)


def backbone_kind(backbone: str) -> tuple[str, str]:
    """The key in `IMAGE_ENCODERS` and the source that an `image_encoder.backbone` names."""
    kind, colon, source = backbone.partition(":")
    return (kind, source) if colon and kind in IMAGE_ENCODERS else ("application", backbone)
