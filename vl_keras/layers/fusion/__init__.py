"""Ways to join a text and an image: one interface, one file each."""

from typing import Any

from vl_keras.layers.fusion.attention_fusion import AttentionFusion
from vl_keras.layers.fusion.bilinear_fusion import BilinearFusion
from vl_keras.layers.fusion.co_attention_fusion import CoAttentionFusion
from vl_keras.layers.fusion.concatenation_fusion import ConcatenationFusion
from vl_keras.layers.fusion.cross_modal_fusion import CrossModalFusion
from vl_keras.layers.fusion.early_fusion import EarlyFusion
from vl_keras.layers.fusion.gated_fusion import GatedFusion
from vl_keras.layers.fusion.graph_alignment_fusion import GraphAlignmentFusion
from vl_keras.layers.fusion.interactive_fusion import InteractiveFusion
from vl_keras.layers.fusion.late_fusion import LateFusion
from vl_keras.layers.fusion.multi_stream_fusion import MultiStreamFusion
from vl_keras.layers.fusion.product_fusion import ProductFusion
from vl_keras.layers.fusion.sum_fusion import SumFusion
from vl_keras.layers.fusion.weighted_sum_fusion import WeightedSumFusion

# What a fusion reads stands in its `reads`: two `vectors`, the `tokens` and masks of both, or two models' `scores`.
FUSIONS: dict[str, Any] = {
    "concatenation": ConcatenationFusion,
    "sum": SumFusion,
    "product": ProductFusion,
    "weighted_sum": WeightedSumFusion,
    "gated": GatedFusion,
    "bilinear": BilinearFusion,
    "late": LateFusion,
    "early": EarlyFusion,
    "attention": AttentionFusion,
    "cross_modal": CrossModalFusion,
    "interactive": InteractiveFusion,
    "co_attention": CoAttentionFusion,
    "multi_stream": MultiStreamFusion,
    "graph_alignment": GraphAlignmentFusion,
}
