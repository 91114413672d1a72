"""A small convolutional network for small, clean images: tests, the demo, one's own quick trials."""

from typing import Any

import tensorflow as tf
import tf_keras as keras


@keras.utils.register_keras_serializable("vl_keras")
class CoordinateChannels(keras.layers.Layer):
    """Appends each place's row and column, -1 to 1, as two channels (CoordConv, Liu et al., 2018, section 3).

    Convolution alone does not know where it is, and captions speak of left, right, above and below.

    Args of call:
        inputs: `(B, rows, columns, C)` float.

    Returns:
        `(B, rows, columns, C + 2)`, same dtype.
    """

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        batch, rows, columns = tf.unstack(tf.shape(inputs)[:3])
        row = tf.linspace(-1.0, 1.0, rows)[:, None, None]
        column = tf.linspace(-1.0, 1.0, columns)[None, :, None]
        grid = tf.concat([tf.tile(row, (1, columns, 1)), tf.tile(column, (rows, 1, 1))], axis=-1)
        grid = tf.tile(tf.cast(grid, inputs.dtype)[None], (batch, 1, 1, 1))
        return tf.concat([inputs, grid], axis=-1)

    def compute_output_shape(self, input_shape: Any) -> Any:
        *leading, channels = tuple(input_shape)
        return tf.TensorShape((*leading, channels + 2))


def small_cnn(input_shape: tuple[int | None, int | None, int] = (None, None, 3), output_dim: int = 128) -> keras.Model:
    """Builds the network: three stride-2 convolutions, a residual block, and coordinates at both ends.

    Layer normalisation over channels instead of batch normalisation, so that a batch neighbour changes nothing.

    Args:
        input_shape: `(height, width, 3)`; either size may be None.
        output_dim: D, channels of the output.

    Returns:
        Functional `keras.Model`: `(B, height, width, 3)` pixel values 0 to 255 ->
        `(B, ceil(height / 8), ceil(width / 8), output_dim)`. About 300,000 weights.
    """
    inputs = keras.Input(input_shape, name="pixels")
    x = keras.layers.Rescaling(1 / 127.5, offset=-1, dtype="float32", name="rescaling")(inputs)
    x = CoordinateChannels(name="coordinates")(x)
    for index, channels in enumerate((32, 64, 96), start=1):
        x = _convolution(channels, f"stage{index}", strides=2)(x)
        x = keras.layers.LayerNormalization(name=f"stage{index}_norm")(x)
        x = keras.layers.Activation("relu", name=f"stage{index}_relu")(x)
    shortcut = x
    x = _convolution(96, "block_conv1")(x)
    x = keras.layers.LayerNormalization(name="block_norm")(x)
    x = keras.layers.Activation("relu", name="block_relu")(x)
    x = _convolution(96, "block_conv2")(x)
    x = keras.layers.Add(name="block_add")([shortcut, x])
    x = CoordinateChannels(name="grid_coordinates")(x)
    x = keras.layers.Conv2D(output_dim, 1, name="projection", kernel_initializer="he_normal")(x)
    x = keras.layers.LayerNormalization(name="norm")(x)
    return keras.Model(inputs, x, name="small_cnn")


def _convolution(channels: int, name: str, strides: int = 1) -> keras.layers.Conv2D:
    return keras.layers.Conv2D(channels, 3, strides, padding="same", kernel_initializer="he_normal", name=name)
