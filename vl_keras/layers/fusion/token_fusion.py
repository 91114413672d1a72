"""What the fusions of two sequences share."""

from typing import Any

import tensorflow as tf
import tf_keras as keras


class TokenFusion(keras.layers.Layer):
    """Joins the words of a text with the regions of an image, after a linear map of each to one width.

    Args:
        hidden_dim: that width, D.

    Args of call:
        text_tokens: `(B, T, D1)` float.
        text_mask: `(B, T)` bool, True = real token.
        image_tokens: `(B, R, D2)` float.
        image_mask: `(B, R)` bool, True = real region.

    Returns:
        `(B, W)`, W as the fusion's docstring says; and where the words looked, `(B, T, R)` float32, where
        `return_attention_scores=True`.
    """

    reads = "tokens"

    def __init__(self, hidden_dim: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.hidden_dim = hidden_dim
        self._text = keras.layers.Dense(hidden_dim, name="text", dtype=self.dtype_policy)
        self._image = keras.layers.Dense(hidden_dim, name="image", dtype=self.dtype_policy)

    def call(
        self,
        text_tokens: tf.Tensor,
        text_mask: tf.Tensor,
        image_tokens: tf.Tensor,
        image_mask: tf.Tensor,
        return_attention_scores: bool = False,
        training: bool | None = None,
    ) -> tf.Tensor | tuple[tf.Tensor, tf.Tensor]:
        text, image = self._text(text_tokens), self._image(image_tokens)
        fused, weights = self.fuse(text, text_mask, image, image_mask, training)
        return (fused, tf.cast(weights, tf.float32)) if return_attention_scores else fused

    def fuse(
        self,
        text: tf.Tensor,
        text_mask: tf.Tensor,
        image: tf.Tensor,
        image_mask: tf.Tensor,
        training: bool | None,
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """The fusion's formula, of words `(B, T, D)` and regions `(B, R, D)`: `(B, W)` and `(B, T, R)`."""
        raise NotImplementedError

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "hidden_dim": self.hidden_dim}
