"""What the fusions of two vectors share."""

from typing import Any

import tensorflow as tf
import tf_keras as keras


class VectorFusion(keras.layers.Layer):
    """Joins one vector of a text with one of an image, after a linear map of each: `h_text`, `h_image` `(B, D)`.

    Args:
        hidden_dim: D.

    Args of call:
        text_vector: `(B, D1)` float.
        image_vector: `(B, D2)` float.

    Returns:
        `(B, W)`, W as the fusion's docstring says.
    """

    reads = "vectors"

    def __init__(self, hidden_dim: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.hidden_dim = hidden_dim
        self._text = keras.layers.Dense(hidden_dim, name="text", dtype=self.dtype_policy)
        self._image = keras.layers.Dense(hidden_dim, name="image", dtype=self.dtype_policy)

    def call(self, text_vector: tf.Tensor, image_vector: tf.Tensor) -> tf.Tensor:
        return self.combine(self._text(text_vector), self._image(image_vector))

    def combine(self, text: tf.Tensor, image: tf.Tensor) -> tf.Tensor:
        """The fusion's formula, of `h_text` and `h_image`."""
        raise NotImplementedError

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "hidden_dim": self.hidden_dim}
