"""What the fusions made of Transformer blocks share."""

from typing import Any

from vl_keras.layers.fusion.token_fusion import TokenFusion


class TransformerFusion(TokenFusion):
    """A `TokenFusion` with the settings of a Transformer.

    Args:
        hidden_dim: D; divides by `num_heads`.
        num_heads, num_layers, intermediate_dim: of the blocks.
        dropout: of what attention and feed-forward add.
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
        super().__init__(hidden_dim, **kwargs)
        self.num_heads = num_heads
        self.num_layers = num_layers
        self.intermediate_dim = intermediate_dim
        self.dropout = dropout

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "num_heads": self.num_heads,
            "num_layers": self.num_layers,
            "intermediate_dim": self.intermediate_dim,
            "dropout": self.dropout,
        }
