"""A task's serving signatures with bytes and strings for inputs and a status for every row."""

import contextlib

import tensorflow as tf

from export.images import OK, decode_images

_IMAGE, _IMAGE_BYTES = "image", "image_bytes"


def serving_functions(signatures, image_size, max_pixels, weights=None):
    """Wraps what a task answers so that it takes what clients send.

    `image` becomes `image_bytes`, and `status` `(B,)` is added to the outputs: `ok`, or why the row has no answer,
    whose strings are then empty and whose numbers zero. Preprocessing is that of training.

    Args:
        signatures: dict of name -> `ServingSignature`.
        image_size: `(height, width)` that the model sees.
        max_pixels: an image with more is refused by its header.
        weights: context manager under which the functions' graphs are built; see `StoredWeights.in_place`.

    Returns:
        Dict of name -> `tf.function` with a fixed input signature of `(B,)` strings.
    """
    weights = weights or contextlib.nullcontext
    return {name: _function(name, signature, image_size, max_pixels, weights) for name, signature in signatures.items()}


def _function(name, signature, image_size, max_pixels, weights):
    names = [_IMAGE_BYTES if name == _IMAGE else name for name in signature.inputs]

    def ask(*strings):
        count = tf.shape(strings[0])[0]
        # A batch without rows is answered by cutting off one that is: not every operation takes none.
        extra = tf.fill([tf.maximum(1 - count, 0)], "")
        inputs = {name: tf.concat([rows, extra], axis=0) for name, rows in zip(names, strings, strict=True)}
        status = tf.fill(tf.shape(inputs[names[0]]), OK)
        if _IMAGE_BYTES in inputs:
            inputs[_IMAGE], status = decode_images(inputs.pop(_IMAGE_BYTES), image_size, max_pixels)
        good = status == OK
        with weights():
            outputs = signature.function(inputs)
        answer = {**{key: _blank(value, good) for key, value in outputs.items()}, "status": status}
        return {key: value[:count] for key, value in answer.items()}

    ask.__name__ = name
    specs = [tf.TensorSpec([None], tf.string, name=name) for name in names]
    return tf.function(ask, input_signature=specs, autograph=False)


def _blank(value, good):
    """`value` `(B, …)` with empty strings or zeros in the rows that are not good."""
    good = tf.reshape(good, tf.concat([tf.shape(good), tf.ones(tf.rank(value) - 1, tf.int32)], axis=0))
    return tf.where(good, value, tf.constant("") if value.dtype == tf.string else tf.zeros([], value.dtype))
