"""Images: JPEG, PNG, BMP, GIF and WebP files become pixels of one size."""

import tensorflow as tf

from vl_keras.config import AugmentConfig, DataConfig
from vl_keras.data import image_ops
from vl_keras.data.image_header import find_fault, has_exif, stored_size
from vl_keras.data.image_header_ops import check_header
from vl_keras.data.modalities.golden_images import golden_images
from vl_keras.data.modalities.modality import Modality


class ImageModality(Modality):
    """Images become `(height, width, 3)` uint8 of `data.image_size`; one over `data.max_pixels` is never decoded.

    uint8, because a Keras model casts it to what its input wants: as float32 it would be four times the memory traffic.
    """

    name = "image"
    units = "images"
    served_name = "image_bytes"
    damaged = "damaged: the image cannot be decoded, it is broken or cut short"
    augments = ("crop_min_area", "flip", "rotation", "color")

    def value_spec(self, data: DataConfig) -> tf.TensorSpec:
        return tf.TensorSpec((*data.image_size, 3), tf.uint8)

    def check(self, content: bytes, data: DataConfig) -> tuple[str | None, bool]:
        size = stored_size(content)
        return find_fault(content, size, data.max_pixels), size == data.image_size and not has_exif(content)

    def decoding_settings(self, data: DataConfig) -> dict[str, object]:
        return {"image_size": list(data.image_size)}

    def decode(self, content: tf.Tensor, data: DataConfig) -> tf.Tensor:
        return image_ops.resize_uint8(image_ops.decode_image(content), data.image_size)

    def decode_ready(self, content: tf.Tensor, data: DataConfig) -> tf.Tensor:
        return image_ops.decode_stored(content, data.image_size)

    def is_augmented(self, augment: AugmentConfig) -> bool:
        return augment.crop_min_area < 1 or augment.flip or augment.rotation > 0 or augment.color > 0

    def decode_augmented(
        self, content: tf.Tensor, seed: tf.Tensor, flip: tf.Tensor, data: DataConfig, augment: AugmentConfig
    ) -> tf.Tensor:
        image = image_ops.decode_and_crop(content, seed, augment.crop_min_area)
        image = image_ops.resize_uint8(image, data.image_size)
        return image_ops.augment(image, seed[::-1], flip, augment.rotation, augment.color)

    def golden(self) -> dict[str, bytes]:
        return golden_images()

    def check_served(self, content: tf.Tensor, data: DataConfig) -> tf.Tensor:
        return check_header(content, data.max_pixels)
