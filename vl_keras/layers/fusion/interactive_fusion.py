"""Fusion by self-attention over both modalities."""

from typing import Any

import tensorflow as tf
import tf_keras as keras

from vl_keras.layers.fusion.transformer_fusion import TransformerFusion
from vl_keras.layers.masked_mean import masked_mean
from vl_keras.layers.transformer_blocks import TransformerEncoderBlock


@keras.saving.register_keras_serializable("vl_keras")
class InteractiveFusion(TransformerFusion):
    """`[T; V]`, then `num_layers` times multi-head self-attention and feed-forward; the mean of what is real.

    Unlike `EarlyFusion` nothing marks the modality of a token and no token is added. `(B, hidden_dim)`. See
    `TransformerFusion`.
    """

    def __init__(
        self,
        hidden_dim: int,
        num_heads: int = 4,
        num_layers: int = 2,
        intermediate_dim: int = 512,
        dropout: float = 0.1,
        **kwargs: Any,
    ) -> None:
        super().__init__(hidden_dim, num_heads, num_layers, intermediate_dim, dropout, **kwargs)
        policy = {"dtype": self.dtype_policy}
        self._blocks = [
            TransformerEncoderBlock(hidden_dim, num_heads, intermediate_dim, dropout, name=f"block_{i}", **policy)
            for i in range(num_layers)
        ]

    def fuse(
        self,
        text: tf.Tensor,
        text_mask: tf.Tensor,
        image: tf.Tensor,
        image_mask: tf.Tensor,
        training: bool | None,
    ) -> tuple[tf.Tensor, tf.Tensor]:
        length = tf.shape(text)[1]
        tokens = tf.concat([text, image], axis=1)
        mask = tf.concat([text_mask, image_mask], axis=1)
        looked = []
        for block in self._blocks:
            tokens, weights = block(tokens, mask, return_attention_scores=True, training=training)
            looked.append(tf.reduce_mean(weights, axis=1)[:, :length, length:])
        return masked_mean(tokens, mask), tf.add_n(looked) / len(looked)
