"""Pixel values to what a `tf_keras.applications` network was trained on."""

import sys
from types import ModuleType
from typing import Any

import tensorflow as tf
import tf_keras as keras


@keras.utils.register_keras_serializable("vl_keras")
class ImagePreprocessing(keras.layers.Layer):
    """The application's own `preprocess_input` as a layer, so that it is saved and served with the network.

    It computes in float32 under every precision policy: pixel values between whole numbers do not fit bfloat16.

    Args:
        application: name of a network in `tf_keras.applications`, e.g. `"ResNet50"`.

    Args of call:
        inputs: `(B, height, width, 3)` RGB, 0 to 255.

    Returns:
        `(B, height, width, 3)` float32 in the application's range and channel order.
    """

    def __init__(self, application: str, **kwargs: Any) -> None:
        kwargs.setdefault("dtype", "float32")
        super().__init__(**kwargs)
        self.application = application
        self._preprocess = application_module(application).preprocess_input

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        return self._preprocess(inputs)

    def compute_output_shape(self, input_shape: Any) -> Any:
        return input_shape

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "application": self.application}


def application_module(application: str) -> ModuleType:
    """The module that holds an application's builder and, beside it, its `preprocess_input`."""
    return sys.modules[getattr(keras.applications, application).__module__]
