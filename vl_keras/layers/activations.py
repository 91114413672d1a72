"""Activation functions by the names that settings and checkpoints of Transformers use."""

from collections.abc import Callable

import tensorflow as tf


def quick_gelu(inputs: tf.Tensor) -> tf.Tensor:
    """`x · σ(1.702 x)`, the approximation of GELU by a sigmoid (Hendrycks and Gimpel, 2016, section 2)."""
    return inputs * tf.sigmoid(1.702 * inputs)


def exact_gelu(inputs: tf.Tensor) -> tf.Tensor:
    """`x · Φ(x)`, Φ the normal distribution function (Hendrycks and Gimpel, 2016, section 2)."""
    return tf.nn.gelu(inputs, approximate=False)


def tanh_gelu(inputs: tf.Tensor) -> tf.Tensor:
    """`0.5 x (1 + tanh(√(2/π) (x + 0.044715 x³)))` (Hendrycks and Gimpel, 2016, section 2)."""
    return tf.nn.gelu(inputs, approximate=True)


ACTIVATIONS: dict[str, Callable[[tf.Tensor], tf.Tensor]] = {
    "relu": tf.nn.relu,
    "gelu": exact_gelu,
    "gelu_tanh": tanh_gelu,
    "quick_gelu": quick_gelu,
}


def activation_function(name: str) -> Callable[[tf.Tensor], tf.Tensor]:
    """The function of `ACTIVATIONS` with this name; raises `ValueError` where there is none."""
    if name not in ACTIVATIONS:
        raise ValueError(f"`activation` must be one of {', '.join(ACTIVATIONS)}; got {name!r}.")
    return ACTIVATIONS[name]
