"""Which layers of an image encoder are trained."""

import difflib

import tf_keras as keras

from vl_keras.errors import EncoderError


def set_trainable(encoder: keras.Model, network: keras.Model, trainable_from: str) -> None:
    """Freezes an encoder, or the first layers of its network.

    Args:
        encoder: the whole image encoder.
        network: the network inside it.
        trainable_from: empty: everything is frozen; `all`: nothing is; or the first layer that is trained.

    Raises:
        EncoderError: the network has no such layer.
    """
    encoder.trainable = bool(trainable_from)
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
