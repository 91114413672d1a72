"""The rule of image encoders that bring their own weights."""

from vl_keras.errors import EncoderError


def check_own_weights(backbone: str, weights: str) -> None:
    """Raises `EncoderError` where `image_encoder.weights` names weights for a backbone that has its own."""
    if weights not in ("imagenet", "none"):
        raise EncoderError(
            f"`image_encoder.weights` is `{weights}`, but the backbone `{backbone}` brings its own weights; leave the "
            "setting out, or set it to none."
        )
