"""Image encoders from saved Keras models."""

import difflib
from pathlib import Path

import tf_keras as keras

from vl_keras.encoders.image_outputs import image_encoder_model
from vl_keras.encoders.own_weights import check_own_weights
from vl_keras.encoders.trainable_layers import set_trainable
from vl_keras.errors import EncoderError

_KEY = "image_encoder.backbone"


def keras_image_encoder(
    source: str,
    weights: str,
    trainable_from: str = "",
    image_size: tuple[int, int] | None = None,
    load_weights: bool = True,
) -> keras.Model:
    """An image encoder around one's own Keras model, up to one of its layers.

    The model takes one input, `(B, height, width, 3)` RGB from 0 to 255: its preprocessing must be part of it (e.g. a
    `Rescaling` layer). It runs in inference mode (batch norm with its stored statistics) in training too.

    Args:
        source: `PATH#LAYER`: a functional or sequential model saved by tf_keras (a `.keras` or `.h5` file, or a
            SavedModel folder), and the name of the layer whose output is taken: a feature map `(B, rows, columns, D)`,
            tokens `(B, R, D)` or a vector `(B, D)`.
        weights: `imagenet` or `none`: the model's own.
        trainable_from, image_size: as of `build_image_encoder`.
        load_weights: not used: a saved model comes with its weights.

    Returns:
        As `build_image_encoder`.

    Raises:
        EncoderError: there is no such file or layer, it cannot be loaded, or its input or output is of another form.
    """
    check_own_weights(f"keras:{source}", weights)
    path, _, layer = source.rpartition("#")
    if not path or not layer:
        raise EncoderError(
            f"`{_KEY}` is `keras:{source}`; it must be keras:PATH#LAYER, a saved Keras model and the name of the layer "
            "whose output is taken."
        )
    network = _network(path, layer)
    _check_input(path, network, image_size)
    size = image_size or network.input_shape[1:3]
    image = keras.Input((*size, 3), name="image")
    features = network(image, training=False)
    if len(features.shape) not in (2, 3, 4) or features.shape[-1] is None:
        raise EncoderError(
            f"`{_KEY}`: layer `{layer}` of `{path}` gives {tuple(features.shape)}; it must give a feature map "
            "(B, h, w, D), tokens (B, R, D) or a vector (B, D)."
        )
    encoder = image_encoder_model(image, features)
    set_trainable(encoder, network, trainable_from)
    return encoder


def _network(path: str, layer: str) -> keras.Model:
    if not Path(path).expanduser().exists():
        raise EncoderError(
            f"`{_KEY}` is `keras:{path}#{layer}`, and there is no `{path}`. It takes a .keras or .h5 file or a "
            "SavedModel folder that tf_keras saved."
        )
    try:
        model = keras.models.load_model(str(Path(path).expanduser()), compile=False)
        names = [one.name for one in model.layers]
        inputs = model.inputs
    except Exception as error:  # Keras raises many kinds for a damaged or foreign file
        raise EncoderError(
            f"`{_KEY}`: `{path}` could not be loaded as a Keras model: {error}. It must be saved by tf_keras; for "
            "another SavedModel write hub:PATH."
        ) from error
    if layer not in names:
        near = difflib.get_close_matches(layer, names, n=5, cutoff=0.3) or names[-5:]
        raise EncoderError(f"`{_KEY}`: `{path}` has no layer `{layer}`; nearest: {', '.join(near)}.")
    return keras.Model(inputs, model.get_layer(layer).output, name="network")


def _check_input(path: str, network: keras.Model, image_size: tuple[int, int] | None) -> None:
    shape = network.input_shape
    if not isinstance(shape, tuple) or len(shape) != 4 or shape[-1] != 3:
        raise EncoderError(f"`{_KEY}`: `{path}` takes {shape}; it must take one image input (B, height, width, 3).")
    if image_size and any(own not in (None, given) for own, given in zip(shape[1:3], image_size, strict=True)):
        raise EncoderError(
            f"`{_KEY}`: `{path}` takes images of {shape[1]}x{shape[2]} pixels, but `data.image_size` is "
            f"{image_size[0]}x{image_size[1]}; set it to [{shape[1]}, {shape[2]}]."
        )
