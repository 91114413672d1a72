"""What a task answers when it is served."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import tensorflow as tf


class ServingSignature(NamedTuple):
    """One question that a trained model answers.

    Attributes:
        function: dict of inputs, with as many rows each, to dict of outputs `(B, …)`; in graph operations only. An
            input whose name is in `vl_keras.data.modalities.MODALITIES` comes decoded, as float32, with its mask as
            `<name>_mask`: `image` is `(B, height, width, 3)`, 0 to 255, and `image_mask` `(B,)` bool. Every other input
            is `(B,)` UTF-8 strings.
        inputs: names of the inputs, in the order in which the served signature takes them.
    """

    function: Callable[[dict[str, tf.Tensor]], dict[str, tf.Tensor]]
    inputs: tuple[str, ...]
