"""What the tokens of an image encoder are: cells of a grid, boxes, moments, or nothing that has a place."""

from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import tensorflow as tf
import tf_keras as keras

from vl_keras.encoders.image_outputs import GRID_LAYER

Weights = TypeVar("Weights", np.ndarray, tf.Tensor)


@dataclass(frozen=True)
class TokenLayout:
    """Where the tokens of an encoder lie.

    Attributes:
        kind: `grid`: cells of a grid over the image, row by row; `boxes`: regions with coordinates of their own;
            `time`: moments; `none`: tokens without a place, e.g. a single vector.
        rows, columns: of a grid, `rows * columns = R`; 0 for the other kinds.
    """

    kind: str
    rows: int = 0
    columns: int = 0

    @property
    def is_grid(self) -> bool:
        """Whether attention to the tokens can be drawn as a map over the image."""
        return self.kind == "grid"

    def arrange(self, weights: Weights) -> Weights:
        """Attention weights `(…, R)` as `(…, rows, columns)` for a grid; unchanged for every other kind."""
        if not self.is_grid:
            return weights
        if isinstance(weights, np.ndarray):
            return weights.reshape(*weights.shape[:-1], self.rows, self.columns)
        arranged = tf.reshape(weights, tf.concat([tf.shape(weights)[:-1], [self.rows, self.columns]], axis=0))
        return tf.ensure_shape(arranged, weights.shape[:-1].concatenate((self.rows, self.columns)))


def token_layout(encoder: keras.Model, image_size: tuple[int, int]) -> TokenLayout:
    """Asks an image encoder what its tokens are.

    An encoder says so by what it contains: the feature map that `image_encoder_model` keeps is a grid; an output
    `image_boxes` `(B, R, 4)` beside the tokens means boxes; an output `image_times` `(B, R)` means moments.

    Args:
        encoder: keras.Model of `build_image_encoder`, or of one's own with the same outputs.
        image_size: height and width in pixels of the images that it will read.
    """
    names = set(encoder.output) if isinstance(encoder.output, dict) else set()
    for name, kind in (("image_boxes", "boxes"), ("image_times", "time")):
        if name in names:
            return TokenLayout(kind)
    if GRID_LAYER not in {layer.name for layer in encoder.layers}:
        return TokenLayout("none")
    grid = keras.Model(encoder.inputs, encoder.get_layer(GRID_LAYER).output)
    image = tf.TensorSpec((1, *image_size, 3), tf.float32)
    function = tf.function(lambda image: grid(image, training=False), autograph=False)
    shape = function.get_concrete_function(image).output_shapes
    return TokenLayout("grid", *shape[1:3].as_list())
