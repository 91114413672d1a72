"""Fusion over a graph of words and regions."""

from typing import Any

import tensorflow as tf
import tf_keras as keras

from vl_keras.layers.fusion.token_fusion import TokenFusion
from vl_keras.layers.masked_mean import masked_mean


@keras.saving.register_keras_serializable("vl_keras")
class GraphAlignmentFusion(TokenFusion):
    """Words and regions are nodes, joined where they are alike; a graph attention layer passes messages along.

    Nodes `x` are the words and regions, an edge's strength is `s_ij = max(0, cos(x_i, x_j))`, 1 for a node and itself.
    Graph attention (Veličković et al., 2018, equations 1 to 5), each edge weighted by its strength:
    `α_ij ∝ s_ij exp(LeakyReLU(a_1·Wx_i + a_2·Wx_j))` over the real nodes j, `y_i = x_i + ELU(Σ_j α_ij W x_j)`, for
    each head, heads concatenated. The result is `[mean of the words' y; mean of the regions' y]`, `(B, 2*hidden_dim)`.
    See `TokenFusion`.

    Args:
        hidden_dim: D; divides by `num_heads`.
        num_heads: of the graph attention.
    """

    def __init__(self, hidden_dim: int, num_heads: int = 4, **kwargs: Any) -> None:
        super().__init__(hidden_dim, **kwargs)
        if hidden_dim % num_heads:
            raise ValueError(f"`hidden_dim` must be divisible by `num_heads`; got {hidden_dim} and {num_heads}.")
        self.num_heads = num_heads
        self._message = keras.layers.Dense(hidden_dim, use_bias=False, name="message", dtype=self.dtype_policy)

    def build(self, input_shape: Any) -> None:
        shape = (2, self.num_heads, self.hidden_dim // self.num_heads)
        self.attention = self.add_weight(name="attention", shape=shape, initializer="glorot_uniform")
        super().build(input_shape)

    def fuse(
        self,
        text: tf.Tensor,
        text_mask: tf.Tensor,
        image: tf.Tensor,
        image_mask: tf.Tensor,
        training: bool | None,
    ) -> tuple[tf.Tensor, tf.Tensor]:
        length = tf.shape(text)[1]
        nodes = tf.concat([text, image], axis=1)
        real = tf.concat([text_mask, image_mask], axis=1)
        unit = tf.math.l2_normalize(tf.cast(nodes, tf.float32), axis=-1)
        strength = tf.nn.relu(tf.matmul(unit, unit, transpose_b=True))
        strength = tf.linalg.set_diag(strength, tf.ones_like(strength[..., 0]))
        strength *= tf.cast(real, tf.float32)[:, None, :]

        shape = tf.shape(nodes)
        width = self.hidden_dim // self.num_heads
        message = tf.reshape(self._message(nodes), (shape[0], shape[1], self.num_heads, width))
        ends = tf.einsum("bnhd,ehd->ebhn", tf.cast(message, tf.float32), tf.cast(self.attention, tf.float32))
        scores = tf.nn.leaky_relu(ends[0][..., :, None] + ends[1][..., None, :])
        scores = tf.where(real[:, None, None, :], scores, -1e9)
        scores -= tf.reduce_max(scores, axis=-1, keepdims=True)
        weights = tf.exp(scores) * strength[:, None]
        weights = tf.math.divide_no_nan(weights, tf.reduce_sum(weights, axis=-1, keepdims=True))

        read = tf.einsum("bhnm,bmhd->bnhd", tf.cast(weights, message.dtype), message)
        nodes += tf.nn.elu(tf.reshape(read, shape))
        vectors = [masked_mean(nodes[:, :length], text_mask), masked_mean(nodes[:, length:], image_mask)]
        return tf.concat(vectors, axis=-1), tf.reduce_mean(weights, axis=1)[:, :length, length:]

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "num_heads": self.num_heads}
