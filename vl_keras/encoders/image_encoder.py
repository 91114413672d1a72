"""Images to grid tokens and one vector: any backbone of `tf_keras.applications`, or the small CNN."""

import difflib
import hashlib
import json
import re
from pathlib import Path

import h5py
import tensorflow as tf
import tf_keras as keras

from vl_keras.encoders.image_preprocessing import ImagePreprocessing
from vl_keras.encoders.small_cnn import small_cnn
from vl_keras.errors import EncoderError

SMALL_CNN = "SmallCNN"
GRID_LAYER = "image_grid"  # the layer that holds the feature map (B, rows, columns, D)


def build_image_encoder(backbone, weights, trainable_from="", image_size=None, load_weights=True):
    """Builds the image encoder, preprocessing included.

    Args:
        backbone: name of a network in `tf_keras.applications`, e.g. `"ResNet50"`, or `"SmallCNN"`.
        weights: `"imagenet"` (Keras downloads them, or finds them in `~/.keras/models`), `"none"` (random), or a
            weights file of the network without its top, in Keras's HDF5 form.
        trainable_from: `""`: frozen; `"all"`; or the name of the first layer that is trained. Unless the weights are
            random and trained, the network runs in inference mode (batch norm with its stored statistics, no stochastic
            depth) in training too.
        image_size: `(height, width)` if fixed; None: images of any size.

        load_weights: false: the weights stay random, because those of a trained run follow; how the network runs is
            still decided by `weights` and `trainable_from`.

    Returns:
        Functional `keras.Model`: `"image"` `(B, height, width, 3)` RGB, 0 to 255 -> dict of `"image_tokens"`
        `(B, R, D)` (the grid row by row) and `"image_vector"` `(B, D)` (the mean over the grid).

    Raises:
        EncoderError: unknown backbone or layer, weights that cannot be downloaded, or a file that does not fit.
    """
    size = tuple(image_size) if image_size else (None, None)
    network = _network(backbone, weights if load_weights else "none", (*size, 3))
    pretrained = weights != "none"
    image = keras.Input((*size, 3), name="image")
    pixels = image if backbone == SMALL_CNN else ImagePreprocessing(backbone, name="preprocessing")(image)
    inference = pretrained or not trainable_from
    grid = network(pixels, training=False) if inference else network(pixels)
    grid = keras.layers.Activation("linear", name=GRID_LAYER)(grid)
    tokens = keras.layers.Reshape((-1, grid.shape[-1]), name="image_tokens")(grid)
    vector = keras.layers.GlobalAveragePooling2D(name="image_vector")(grid)
    model = keras.Model(image, {"image_tokens": tokens, "image_vector": vector}, name="image_encoder")
    _set_trainable(model, network, trainable_from)
    return model


def grid_shape(model, image_size):
    """Rows and columns of an image encoder's grid, `rows * columns = R`, for images of `(height, width)`."""
    grid_model = keras.Model(model.inputs, model.get_layer(GRID_LAYER).output)
    spec = tf.TensorSpec((1, *image_size, 3), tf.float32)
    function = tf.function(lambda image: grid_model(image, training=False), autograph=False)
    shape = function.get_concrete_function(spec).output_shapes
    return tuple(shape[1:3].as_list())


def encoder_fingerprint(model):
    """Hash of an encoder's architecture, preprocessing and weights: 64 hexadecimal digits.

    The same in every process, and whether the model is frozen or not; layer names that Keras counts up do not matter.
    """
    digest = hashlib.sha256()
    config = json.loads(model.to_json())["config"]
    digest.update(json.dumps(_canonical(config, _layer_names(config)), sort_keys=True).encode())
    for weight in model.weights:
        value = weight.numpy()
        digest.update(f"{value.dtype}{value.shape}".encode())
        digest.update(value.tobytes())
    return digest.hexdigest()


def backbone_names():
    """Names that `build_image_encoder` takes as backbone."""
    names = [
        name for name in dir(keras.applications) if name[0].isupper() and callable(getattr(keras.applications, name))
    ]
    return [SMALL_CNN, *names]


def _network(backbone, weights, input_shape):
    known = backbone_names()
    if backbone not in known:
        near = difflib.get_close_matches(backbone, known, n=3, cutoff=0.4)
        hint = f"did you mean {', '.join(near)}?" if near else f"known: {', '.join(known)}."
        raise EncoderError(
            f"`image_encoder.backbone` is `{backbone}`, which is no network of tf_keras.applications; {hint}"
        )
    if weights == "imagenet":
        return _imagenet_network(backbone, input_shape)
    path = None if weights == "none" else _weights_file(weights, backbone)
    network = _random_network(backbone, input_shape)
    if path:
        try:
            network.load_weights(str(path))
        except (ValueError, OSError, KeyError) as error:
            raise EncoderError(f"`{path}` does not fit {backbone}: {error} {_expected(backbone)}.") from error
    return network


def _random_network(backbone, input_shape):
    if backbone == SMALL_CNN:
        return small_cnn(input_shape)
    if (
        backbone.startswith("NASNet") and None in input_shape
    ):  # Keras computes its cropping from the size it is built for
        raise EncoderError(f"`{backbone}` is built for one image size; give its height and width, none of them open.")
    try:
        return getattr(keras.applications, backbone)(include_top=False, weights=None, input_shape=input_shape)
    except ValueError as error:
        raise EncoderError(f"`{backbone}` cannot be built for images of {input_shape[:2]}: {error}") from error


def _imagenet_network(backbone, input_shape):
    if backbone == SMALL_CNN:
        raise EncoderError(
            "There are no ImageNet weights for SmallCNN; set `image_encoder.weights` to none or to a file of your own."
        )
    try:
        # At its default size first: some applications (NASNet) refuse downloaded weights at any other.
        source = getattr(keras.applications, backbone)(include_top=False, weights="imagenet")
    except Exception as error:  # Keras raises plain Exception where a download fails
        failed = re.search(r"URL fetch failure on (\S+?):? ", f"{error} ")
        if not failed:
            raise
        url = failed.group(1)
        raise EncoderError(
            f"The ImageNet weights of {backbone} could not be downloaded ({error}). On a machine that can, get "
            f"{url.rsplit('/', 1)[-1]} from {url}, and set `image_encoder.weights` to the path of that file (or put it "
            "into ~/.keras/models)."
        ) from error
    network = _random_network(backbone, input_shape)
    network.set_weights(source.get_weights())
    return network


def _weights_file(weights, backbone):
    path = Path(weights).expanduser()
    if not path.is_file():
        raise EncoderError(f"There is no weights file `{weights}`; {_expected(backbone)}.")
    if path.suffix not in (".h5", ".hdf5") or not h5py.is_hdf5(path):
        raise EncoderError(f"`{path}` is no HDF5 weights file; {_expected(backbone)}.")
    return path


def _expected(backbone):
    return (
        "`image_encoder.weights` must be imagenet (which downloads them), none, or an HDF5 file (.h5) with the weights "
        f"of tf_keras.applications.{backbone} without its top (include_top=False)"
        if backbone != SMALL_CNN
        else "`image_encoder.weights` must be none, or an HDF5 file (.h5) with the weights of SmallCNN"
    )


def _set_trainable(model, network, trainable_from):
    model.trainable = bool(trainable_from)
    if trainable_from in ("", "all"):
        return
    names = [layer.name for layer in network.layers]
    if trainable_from not in names:
        near = difflib.get_close_matches(trainable_from, names, n=5, cutoff=0.3) or names[-5:]
        raise EncoderError(
            f"`image_encoder.trainable_from` is `{trainable_from}`, which is no layer of {network.name}; nearest: "
            f"{', '.join(near)}. It also takes all, or an empty string for a frozen encoder."
        )
    for layer in network.layers[: names.index(trainable_from)]:
        layer.trainable = False


def _layer_names(value):
    """Every name that a model config gives, in order, with its place in that order."""
    names = {}

    def walk(value):
        if isinstance(value, dict):
            if isinstance(value.get("name"), str):
                names.setdefault(value["name"], f"name{len(names)}")
            for item in value.values():
                walk(item)
        elif isinstance(value, list):
            for item in value:
                walk(item)

    walk(value)
    return names


def _canonical(value, names):
    ignored = ("trainable", "training")  # how it is trained; what it computes in inference is the same
    if isinstance(value, dict):
        return {key: _canonical(item, names) for key, item in value.items() if key not in ignored}
    if isinstance(value, list):
        return [_canonical(item, names) for item in value]
    return names.get(value, value) if isinstance(value, str) else value
