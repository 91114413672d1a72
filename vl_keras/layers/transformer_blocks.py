"""Transformer blocks, with the choices that BERT-like and ViT-like stacks differ in."""

from collections.abc import Callable
from typing import Any

import tensorflow as tf
import tf_keras as keras

from vl_keras.layers.causal_self_attention import CausalSelfAttention
from vl_keras.layers.cross_modal_attention import CrossModalAttention
from vl_keras.layers.feed_forward import FeedForward
from vl_keras.layers.layer_norm import layer_norm

_OPTIONS = (
    "hidden_dim",
    "num_heads",
    "intermediate_dim",
    "dropout",
    "norm_first",
    "activation",
    "epsilon",
    "use_bias",
    "output_bias",
    "layer_scale",
    "attention_dropout",
    "feed_forward_dropout",
)
Transform = Callable[[tf.Tensor], tf.Tensor]


class TransformerBlock(keras.layers.Layer):
    """What all blocks share: their choices, and a chain of parts with a residual sum around each.

    A part f changes tokens x to `x + f(norm(x))` (pre-norm; Xiong et al., 2020, figure 1b) or to `norm(x + f(x))`
    (post-norm; Vaswani et al., 2017, section 3.1).

    Dropout of attention weights and inside the feed-forward part is off by default: drawing those random numbers cost
    a third of a training step on CPU.

    Args:
        hidden_dim: D; must be divisible by `num_heads`.
        num_heads: H of each attention.
        intermediate_dim: width inside the feed-forward part.
        dropout: on what each part adds (Vaswani et al., 2017, section 5.4).
        norm_first: pre-norm (CLIP, ViT, GPT-2), or post-norm (BERT).
        activation: of the feed-forward part: `relu`, `gelu` (exact), `gelu_tanh` or `quick_gelu`.
        epsilon: of the layer norms.
        use_bias: whether query, key, value and the feed-forward part have biases.
        output_bias: whether the outputs of attention have one; without it, reading nothing adds nothing.
        layer_scale: what the learned factor of each part's D outputs starts from (Touvron et al., 2021, equation 4);
            None: there is none.
        attention_dropout: on attention weights.
        feed_forward_dropout: inside the feed-forward part.

    Raises:
        ValueError: `hidden_dim` is not divisible by `num_heads`, or there is no such activation.
    """

    num_parts = 2

    def __init__(
        self,
        hidden_dim: int,
        num_heads: int,
        intermediate_dim: int,
        dropout: float = 0.0,
        norm_first: bool = True,
        activation: str = "relu",
        epsilon: float = 1e-6,
        use_bias: bool = True,
        output_bias: bool = False,
        layer_scale: float | None = None,
        attention_dropout: float = 0.0,
        feed_forward_dropout: float = 0.0,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.hidden_dim = hidden_dim
        self.num_heads = num_heads
        self.intermediate_dim = intermediate_dim
        self.dropout = dropout
        self.norm_first = norm_first
        self.activation = activation
        self.epsilon = epsilon
        self.use_bias = use_bias
        self.output_bias = output_bias
        self.layer_scale = layer_scale
        self.attention_dropout = attention_dropout
        self.feed_forward_dropout = feed_forward_dropout
        self._norms = [
            keras.layers.LayerNormalization(epsilon=epsilon, name=f"norm_{i}", dtype=self.dtype_policy)
            for i in range(self.num_parts)
        ]
        self._feed_forward = FeedForward(
            hidden_dim,
            intermediate_dim,
            activation,
            use_bias,
            feed_forward_dropout,
            name="feed_forward",
            dtype=self.dtype_policy,
        )
        self._dropout = keras.layers.Dropout(dropout, dtype=self.dtype_policy)

    def build(self, input_shape: Any) -> None:
        self.scales = None
        if self.layer_scale is not None:
            start = keras.initializers.Constant(self.layer_scale)
            self.scales = self.add_weight("scales", (self.num_parts, self.hidden_dim), initializer=start)
        super().build(input_shape)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), **{name: getattr(self, name) for name in _OPTIONS}}

    def _attend_to(self, name: str) -> CrossModalAttention:
        return CrossModalAttention(
            self.hidden_dim,
            self.num_heads,
            self.use_bias,
            self.output_bias,
            self.attention_dropout,
            name=name,
            dtype=self.dtype_policy,
        )

    def _add(
        self,
        tokens: tf.Tensor,
        part: int,
        transform: Transform,
        training: bool | None = False,
        norm: Callable[[tf.Tensor, keras.layers.Layer], tf.Tensor] = lambda tokens, layer: layer(tokens),
    ) -> tf.Tensor:
        """Tokens after a part of the block: what `transform` gives is added, and the norm is taken before or after."""
        own = self._norms[part]
        added = transform(norm(tokens, own) if self.norm_first else tokens)
        if self.scales is not None:
            added *= tf.cast(self.scales[part], added.dtype)
        tokens = tokens + self._dropout(added, training=training)
        return tokens if self.norm_first else norm(tokens, own)


@keras.saving.register_keras_serializable("vl_keras")
class TransformerEncoderBlock(TransformerBlock):
    """Tokens read each other and, where asked for, a memory of another kind.

    Args:
        causal: each token reads itself and those before it alone.
        cross_attention: after reading each other, the tokens read a memory.
        The others as of `TransformerBlock`.

    Args of call:
        tokens: `(B, R, hidden_dim)` float.
        mask: `(B, R)` bool, True = real token; or `(B, R, R)` bool, which says for each token what it may read.
        memory: `(B, S, any width)` float, with `cross_attention`.
        memory_mask: `(B, S)` bool, True = real; None: all of it is.

    Returns:
        `(B, R, hidden_dim)`; and `(B, H, R, R)` attention weights of the tokens on each other where
        `return_attention_scores=True`.
    """

    def __init__(
        self,
        hidden_dim: int,
        num_heads: int,
        intermediate_dim: int,
        dropout: float = 0.0,
        causal: bool = False,
        cross_attention: bool = False,
        **kwargs: Any,
    ) -> None:
        self.num_parts = 3 if cross_attention else 2
        super().__init__(hidden_dim, num_heads, intermediate_dim, dropout, **kwargs)
        self.causal = causal
        self.cross_attention = cross_attention
        # Reading one's own modality is the same arithmetic with query and value alike.
        self._attention = self._attend_to("self_attention")
        self._memory_attention = self._attend_to("cross_attention") if cross_attention else None

    def call(
        self,
        tokens: tf.Tensor,
        mask: tf.Tensor | None = None,
        memory: tf.Tensor | None = None,
        memory_mask: tf.Tensor | None = None,
        return_attention_scores: bool = False,
        training: bool | None = None,
    ) -> tf.Tensor | tuple[tf.Tensor, tf.Tensor]:
        if self.causal:
            length = tf.shape(tokens)[1]
            past = tf.linalg.band_part(tf.ones((1, length, length), tf.bool), -1, 0)
            mask = past if mask is None else past & (mask[:, None] if len(mask.shape) == 2 else mask)
        kept: dict[str, tf.Tensor] = {}

        def attend(tokens: tf.Tensor) -> tf.Tensor:
            read, kept["weights"] = self._attention(
                tokens, tokens, mask, return_attention_scores=True, training=training
            )
            return read

        tokens = self._add(tokens, 0, attend, training)
        if (attention := self._memory_attention) is not None:
            tokens = self._add(
                tokens, 1, lambda rows: attention(rows, memory, memory_mask, training=training), training
            )
        feed = self.num_parts - 1
        tokens = self._add(tokens, feed, lambda rows: self._feed_forward(rows, training=training), training)
        return (tokens, kept["weights"]) if return_attention_scores else tokens

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "causal": self.causal, "cross_attention": self.cross_attention}


@keras.saving.register_keras_serializable("vl_keras")
class TransformerDecoderBlock(TransformerBlock):
    """Caption tokens read their own past, then a memory, e.g. image tokens; also a token at a time, with a cache.

    The output of its self-attention has a bias where `use_bias`; `output_bias` is that of the attention to the memory.

    Args: as of `TransformerBlock`.

    Args of call:
        tokens: `(B, K, L, hidden_dim)` float: K captions of one image, each L tokens.
        memory: `(B, R, D)` float, read by all K captions without being repeated.
        memory_mask: `(B, R)` bool, True = real region.

    Returns:
        `(B, K, L, hidden_dim)`, and the cross-attention weights `(B, H, K*L, R)`.
    """

    num_parts = 3

    def __init__(
        self, hidden_dim: int, num_heads: int, intermediate_dim: int, dropout: float = 0.0, **kwargs: Any
    ) -> None:
        super().__init__(hidden_dim, num_heads, intermediate_dim, dropout, **kwargs)
        self.self_attention = CausalSelfAttention(
            hidden_dim,
            num_heads,
            self.use_bias,
            self.attention_dropout,
            name="self_attention",
            dtype=self.dtype_policy,
        )
        self.cross_attention = self._attend_to("cross_attention")

    def call(
        self,
        tokens: tf.Tensor,
        memory: tf.Tensor,
        memory_mask: tf.Tensor | None = None,
        training: bool | None = None,
    ) -> tuple[tf.Tensor, tf.Tensor]:
        shape = tf.shape(tokens)
        key, value = self.cross_attention.project(memory)
        kept: dict[str, tf.Tensor] = {}

        def read_memory(rows: tf.Tensor) -> tf.Tensor:
            read, kept["weights"] = self.cross_attention.attend(rows, key, value, memory_mask, training)
            return read

        rows = tf.reshape(tokens, (shape[0] * shape[1], shape[2], self.hidden_dim))
        rows = self._add(rows, 0, lambda rows: self.self_attention(rows, training=training), training)
        rows = tf.reshape(rows, (shape[0], shape[1] * shape[2], self.hidden_dim))
        rows = self._add(rows, 1, read_memory, training)
        rows = self._add(rows, 2, lambda rows: self._feed_forward(rows, training=training), training)
        return tf.reshape(rows, shape), kept["weights"]

    def step(
        self,
        rows: tf.Tensor,
        cache: tf.Tensor,
        written: tf.Tensor,
        mask: tf.Tensor,
        memory: tuple[tf.Tensor, tf.Tensor],
        memory_mask: tf.Tensor,
    ) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """One position of every beam, by the weights of `call`.

        Args:
            rows: `(B*K, hidden_dim)`, the newest token of each beam.
            cache, written, mask: as of `CausalSelfAttention.step`.
            memory, memory_mask: `memory` and `mask` of `CrossModalAttention.read`.

        Returns:
            `(B*K, hidden_dim)`, cross-attention weights `(B, H, K, R)`, and the new cache.
        """
        num_beams = mask.shape[2]
        kept = {}

        def read_past(rows: tf.Tensor) -> tf.Tensor:
            read, kept["cache"] = self.self_attention.step(rows, cache, written, mask)
            return read

        def read_memory(rows: tf.Tensor) -> tf.Tensor:
            read, kept["weights"] = self.cross_attention.read(rows, num_beams, memory, memory_mask)
            return read

        rows = self._add(rows, 0, read_past, norm=layer_norm)
        rows = self._add(rows, 1, read_memory, norm=layer_norm)
        rows = self._add(rows, 2, self._feed_forward, norm=layer_norm)
        return rows, kept["weights"], kept["cache"]
