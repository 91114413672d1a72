"""Fusion before a Transformer."""

from typing import Any

import tensorflow as tf
import tf_keras as keras

from vl_keras.layers.fusion.transformer_fusion import TransformerFusion
from vl_keras.layers.transformer_blocks import TransformerEncoderBlock


@keras.saving.register_keras_serializable("vl_keras")
class EarlyFusion(TransformerFusion):
    """Words and regions as one sequence `[S; T + e_text; V + e_image]` before a Transformer encoder.

    As in VisualBERT (Li et al., 2019, section 3.2): a learned vector for each modality marks its tokens, and a learned
    summary token S, which reads all of them in every block, is the result, `(B, hidden_dim)`. See `TransformerFusion`.
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
        self._norm = keras.layers.LayerNormalization(epsilon=1e-6, name="norm", **policy)

    def build(self, input_shape: Any) -> None:
        initializer = keras.initializers.TruncatedNormal(stddev=0.02)
        shape = (3, self.hidden_dim)  # the summary token, then what marks a word and a region
        self.marks = self.add_weight(name="marks", shape=shape, initializer=initializer)
        super().build(input_shape)

    def fuse(
        self,
        text: tf.Tensor,
        text_mask: tf.Tensor,
        image: tf.Tensor,
        image_mask: tf.Tensor,
        training: bool | None,
    ) -> tuple[tf.Tensor, tf.Tensor]:
        marks = tf.cast(self.marks, text.dtype)
        batch, length = tf.shape(text)[0], tf.shape(text)[1]
        summary = tf.tile(marks[None, :1], (batch, 1, 1))
        tokens = tf.concat([summary, text + marks[1], image + marks[2]], axis=1)
        mask = tf.concat([tf.ones((batch, 1), tf.bool), text_mask, image_mask], axis=1)
        looked = []
        for block in self._blocks:
            tokens, weights = block(tokens, mask, return_attention_scores=True, training=training)
            looked.append(tf.reduce_mean(weights, axis=1)[:, 1 : length + 1, length + 1 :])
        return self._norm(tokens[:, 0]), tf.add_n(looked) / len(looked)
