"""Fusion by two streams that read each other."""

from typing import Any

import tensorflow as tf
import tf_keras as keras

from vl_keras.layers.cross_modal_attention import CrossModalAttention
from vl_keras.layers.feed_forward import FeedForward
from vl_keras.layers.fusion.transformer_fusion import TransformerFusion
from vl_keras.layers.masked_mean import masked_mean


@keras.saving.register_keras_serializable("vl_keras")
class CoAttentionFusion(TransformerFusion):
    """Two streams; in each layer a stream's queries are its own, keys and values the other's.

    The co-attentional Transformer layer of ViLBERT (Lu et al., 2019, section 2.2, figure 2b), both streams of a layer
    reading what the layer before left of the other: `x + attend(x, y)`, normalised, then feed-forward, added and
    normalised. The result is `[mean(T); mean(V)]`, `(B, 2*hidden_dim)`. See `TransformerFusion`.
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
        streams = ("text", "image")
        policy = {"dtype": self.dtype_policy}
        self._reads, self._feeds, self._norms = [], [], []
        for i in range(num_layers):
            self._reads.append(
                [CrossModalAttention(hidden_dim, num_heads, name=f"{name}_reads_{i}", **policy) for name in streams]
            )
            self._feeds.append(
                [FeedForward(hidden_dim, intermediate_dim, name=f"{name}_feed_{i}", **policy) for name in streams]
            )
            self._norms.append(
                [
                    [
                        keras.layers.LayerNormalization(epsilon=1e-6, name=f"{name}_norm_{i}_{j}", **policy)
                        for j in range(2)
                    ]
                    for name in streams
                ]
            )
        self._dropout = keras.layers.Dropout(dropout, **policy)

    def fuse(
        self,
        text: tf.Tensor,
        text_mask: tf.Tensor,
        image: tf.Tensor,
        image_mask: tf.Tensor,
        training: bool | None,
    ) -> tuple[tf.Tensor, tf.Tensor]:
        tokens, masks, looked = [text, image], [text_mask, image_mask], []
        for reads, feeds, norms in zip(self._reads, self._feeds, self._norms, strict=True):
            after = []
            for one, other in ((0, 1), (1, 0)):
                read, weights = reads[one](tokens[one], tokens[other], masks[other], return_attention_scores=True)
                if one == 0:
                    looked.append(tf.reduce_mean(weights, axis=1))
                hidden = norms[one][0](tokens[one] + self._dropout(read, training=training))
                after.append(norms[one][1](hidden + self._dropout(feeds[one](hidden), training=training)))
            tokens = after
        vectors = [masked_mean(hidden, mask) for hidden, mask in zip(tokens, masks, strict=True)]
        return tf.concat(vectors, axis=-1), tf.add_n(looked) / len(looked)
