"""Fusion by elementwise product."""

import tf_keras as keras

from vl_keras.layers.fusion.vector_fusion import VectorFusion


@keras.saving.register_keras_serializable("vl_keras")
class ProductFusion(VectorFusion):
    """`h_text ⊙ h_image`, `(B, hidden_dim)`. See `VectorFusion`."""

    def combine(self, text, image):
        return text * image
