"""Fusion by cross-modal attention in both directions."""

from typing import Any

import tensorflow as tf
import tf_keras as keras

from vl_keras.layers.cross_modal_attention import CrossModalAttention
from vl_keras.layers.fusion.token_fusion import TokenFusion
from vl_keras.layers.masked_mean import masked_mean


@keras.saving.register_keras_serializable("vl_keras")
class CrossModalFusion(TokenFusion):
    """Words read regions, regions read words: `[mean(T + attend(T, V)); mean(V + attend(V, T))]`, `(B, 2*hidden_dim)`.

    `attend` is `CrossModalAttention`, one for each direction. See `TokenFusion`.

    Args:
        hidden_dim: D; divides by `num_heads`.
        num_heads: of both attentions.
    """

    def __init__(self, hidden_dim: int, num_heads: int = 4, **kwargs: Any) -> None:
        super().__init__(hidden_dim, **kwargs)
        self.num_heads = num_heads
        policy = {"dtype": self.dtype_policy}
        self._text_reads = CrossModalAttention(hidden_dim, num_heads, name="text_reads", **policy)
        self._image_reads = CrossModalAttention(hidden_dim, num_heads, name="image_reads", **policy)

    def fuse(
        self,
        text: tf.Tensor,
        text_mask: tf.Tensor,
        image: tf.Tensor,
        image_mask: tf.Tensor,
        training: bool | None,
    ) -> tuple[tf.Tensor, tf.Tensor]:
        read, weights = self._text_reads(text, image, image_mask, return_attention_scores=True)
        seen = self._image_reads(image, text, text_mask)
        vectors = [masked_mean(text + read, text_mask), masked_mean(image + seen, image_mask)]
        return tf.concat(vectors, axis=-1), tf.reduce_mean(weights, axis=1)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "num_heads": self.num_heads}
