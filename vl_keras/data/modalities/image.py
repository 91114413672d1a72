"""Images: JPEG, PNG, BMP, GIF and WebP files become pixels of one size."""

import numpy as np
import tensorflow as tf

from vl_keras.config import AugmentConfig, DataConfig
from vl_keras.data import image_ops
from vl_keras.data.image_decode import is_plain, plain_form
from vl_keras.data.image_header import find_fault, image_header
from vl_keras.data.image_header_ops import damaged_reasons, header_numbers, header_status, jpeg_numbers
from vl_keras.data.image_headers import formats
from vl_keras.data.image_headers.header import HEADER_SIZE, Header
from vl_keras.data.modalities.golden_images import golden_images
from vl_keras.data.modalities.modality import Modality


class ImageModality(Modality):
    """Images become `(height, width, 3)` uint8 of `data.image_size`; one over `data.max_pixels` is never decoded.

    uint8, because a Keras model casts it to what its input wants: as float32 it would be four times the memory traffic.
    """

    name = "image"
    units = "images"
    served_name = "image_bytes"
    empty = formats.REASONS[formats.EMPTY]
    damaged = formats.REASONS[formats.BROKEN].format(formats.NAMES[0])
    header_size = HEADER_SIZE
    augments = ("crop_min_area", "flip", "rotation", "color")

    def value_spec(self, data: DataConfig) -> tf.TensorSpec:
        return tf.TensorSpec((*data.image_size, 3), tf.uint8)

    def header(self, content: bytes) -> np.ndarray:
        return np.array(image_header(content).numbers, np.int64)

    def served_header(self, content: tf.Tensor, usual: bool = False) -> tf.Tensor:
        return jpeg_numbers(content) if usual else header_numbers(content)

    def usual_form(self, content: bytes, header: np.ndarray) -> bytes:
        return plain_form(content, Header.of(header.tolist()))

    def begins_as_usual(self, contents: tf.Tensor) -> tf.Tensor:
        return tf.strings.substr(contents, 0, 3) == formats.DECODED[formats.JPEG - 1].words[0]

    def check(self, content: bytes, data: DataConfig, header: np.ndarray | None = None) -> tuple[str | None, bool]:
        known = image_header(content) if header is None else Header.of(header.tolist())
        is_ready = (known.height, known.width) == data.image_size and is_plain(known)
        return find_fault(known, data.max_pixels), is_ready

    def decoding_settings(self, data: DataConfig) -> dict[str, object]:
        return {"image_size": list(data.image_size)}

    def decode(
        self, content: tf.Tensor, data: DataConfig, header: tf.Tensor | None = None, usual: bool = False
    ) -> tf.Tensor:
        return image_ops.resize_uint8(image_ops.decode_image(content, header, usual), data.image_size)

    def decode_ready(self, content: tf.Tensor, data: DataConfig) -> tf.Tensor:
        return image_ops.decode_stored(content, data.image_size)

    def is_augmented(self, augment: AugmentConfig) -> bool:
        return augment.crop_min_area < 1 or augment.flip or augment.rotation > 0 or augment.color > 0

    def decode_augmented(
        self,
        content: tf.Tensor,
        seed: tf.Tensor,
        flip: tf.Tensor,
        data: DataConfig,
        augment: AugmentConfig,
        header: tf.Tensor | None = None,
        usual: bool = False,
    ) -> tf.Tensor:
        image = image_ops.decode_and_crop(content, seed, augment.crop_min_area, header, usual)
        image = image_ops.resize_uint8(image, data.image_size)
        return image_ops.augment(image, seed[::-1], flip, augment.rotation, augment.color)

    def damaged_reasons(self, contents: tf.Tensor) -> tf.Tensor:
        return damaged_reasons(contents)

    def golden(self) -> dict[str, bytes]:
        return golden_images()

    def check_served(self, content: tf.Tensor, data: DataConfig, header: tf.Tensor | None = None) -> tf.Tensor:
        return header_status(header_numbers(content) if header is None else header, data.max_pixels)
