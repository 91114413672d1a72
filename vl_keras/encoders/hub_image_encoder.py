"""Image encoders from TensorFlow Hub modules and from other SavedModels of their form."""

import tf_keras as keras

from vl_keras.encoders.hub_image_layer import HubImageLayer
from vl_keras.encoders.hub_modules import load_module
from vl_keras.encoders.image_outputs import image_encoder_model
from vl_keras.encoders.own_weights import check_own_weights
from vl_keras.errors import EncoderError

_KEY = "image_encoder.backbone"


def hub_image_encoder(
    handle: str,
    weights: str,
    trainable_from: str = "",
    image_size: tuple[int, int] | None = None,
    load_weights: bool = True,
) -> keras.Model:
    """An image encoder around a hub module: a SavedModel that is called with images and gives features.

    The module takes `(B, height, width, 3)` float32 RGB from 0 to 1, as hub's image modules do, and gives a dict with
    `image_tokens` `(B, R, D)` (and `image_mask` `(B, R)` where some of them are padding), or a feature map
    `(B, rows, columns, D)`, or a vector `(B, D)`; of several outputs, the one that is called `default` is taken.

    Args:
        handle: URL or folder of the module.
        weights: `imagenet` or `none`: the module's own.
        trainable_from: empty or `all`; a module's layers have no names.
        image_size: as of `build_image_encoder`.
        load_weights: not used: a module comes with its weights.

    Returns:
        As `build_image_encoder`.

    Raises:
        EncoderError: the module cannot be found or loaded, does not keep this contract, does not take images of this
            size, or cannot be trained.
    """
    check_own_weights(f"hub:{handle}", weights)
    if trainable_from not in ("", "all"):
        raise EncoderError(
            f"`image_encoder.trainable_from` is `{trainable_from}`, but the layers of the hub module `{handle}` have "
            "no names; it takes all, or an empty string for a frozen encoder."
        )
    contract = "image modules ((B, height, width, 3) float32 from 0 to 1 -> tokens, a feature map or a vector)"
    advice = "for a saved Keras model write keras:PATH#LAYER."
    trainable = trainable_from == "all"
    layer = load_module(
        handle, _KEY, contract, advice, lambda path: HubImageLayer(path, trainable, image_size, name="hub_module")
    )
    if trainable and not layer.trainable_weights:
        raise EncoderError(
            f"`{_KEY}`: the module `{handle}` has no variables to train; leave `image_encoder.trainable_from` empty."
        )
    image = keras.Input((*(image_size or (None, None)), 3), name="image")
    pixels = keras.layers.Rescaling(1 / 255.0, dtype="float32", name="rescaling")(image)
    read = layer(pixels)
    model = image_encoder_model(image, read["features"], read.get("mask"))
    model.trainable = trainable
    return model
