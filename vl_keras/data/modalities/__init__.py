"""The kinds of input that examples hold beside text: one file each, listed in `MODALITIES`."""

from vl_keras.data.modalities.image import ImageModality
from vl_keras.data.modalities.modality import Modality

MODALITIES: dict[str, Modality] = {"image": ImageModality()}

__all__ = ["MODALITIES", "Modality"]
