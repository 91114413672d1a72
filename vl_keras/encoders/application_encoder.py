"""Image encoders from the networks of `tf_keras.applications`, and from the small CNN."""

import difflib
import re
from pathlib import Path

import h5py
import tf_keras as keras

from vl_keras.encoders.image_outputs import image_encoder_model
from vl_keras.encoders.networks.image_preprocessing import ImagePreprocessing
from vl_keras.encoders.networks.small_cnn import small_cnn
from vl_keras.encoders.trainable_layers import set_trainable
from vl_keras.errors import EncoderError

SMALL_CNN = "SmallCNN"


def application_encoder(
    name: str,
    weights: str,
    trainable_from: str = "",
    image_size: tuple[int, int] | None = None,
    load_weights: bool = True,
) -> keras.Model:
    """An image encoder whose tokens are the cells of a network's last feature map.

    Unless the weights are random and trained, the network runs in inference mode (batch norm with its stored
    statistics, no stochastic depth) in training too.

    Args:
        name: of a network in `tf_keras.applications`, e.g. `ResNet50`, or `SmallCNN`.
        weights: `imagenet` (Keras downloads them, or finds them in `~/.keras/models`), `none` (random), or a
            weights file of the network without its top, in Keras's HDF5 form.
        trainable_from, image_size, load_weights: as of `build_image_encoder`.

    Returns:
        As `build_image_encoder`.

    Raises:
        EncoderError: unknown name or layer, weights that cannot be downloaded, or a file that does not fit.
    """
    size = tuple(image_size) if image_size else (None, None)
    network = _network(name, weights if load_weights else "none", (*size, 3))
    image = keras.Input((*size, 3), name="image")
    pixels = image if name == SMALL_CNN else ImagePreprocessing(name, name="preprocessing")(image)
    inference = weights != "none" or not trainable_from
    model = image_encoder_model(image, network(pixels, training=False) if inference else network(pixels))
    set_trainable(model, network, trainable_from)
    return model


def backbone_names() -> list[str]:
    """Names that `application_encoder` takes."""
    names = [
        name for name in dir(keras.applications) if name[0].isupper() and callable(getattr(keras.applications, name))
    ]
    return [SMALL_CNN, *names]


def _network(backbone: str, weights: str, input_shape: tuple) -> keras.Model:
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


def _random_network(backbone: str, input_shape: tuple) -> keras.Model:
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


def _imagenet_network(backbone: str, input_shape: tuple) -> keras.Model:
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


def _weights_file(weights: str, backbone: str) -> Path:
    path = Path(weights).expanduser()
    if not path.is_file():
        raise EncoderError(f"There is no weights file `{weights}`; {_expected(backbone)}.")
    if path.suffix not in (".h5", ".hdf5") or not h5py.is_hdf5(path):
        raise EncoderError(f"`{path}` is no HDF5 weights file; {_expected(backbone)}.")
    return path


def _expected(backbone: str) -> str:
    return (
        "`image_encoder.weights` must be imagenet (which downloads them), none, or an HDF5 file (.h5) with the weights "
        f"of tf_keras.applications.{backbone} without its top (include_top=False)"
        if backbone != SMALL_CNN
        else "`image_encoder.weights` must be none, or an HDF5 file (.h5) with the weights of SmallCNN"
    )
