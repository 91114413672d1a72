"""A task's serving signatures with bytes and strings for inputs and a status for every row."""

import vl_keras  # noqa: F401  selects Keras 2 before TensorFlow is imported

# isort: split
import contextlib
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager

import tensorflow as tf

from vl_keras.config import DataConfig
from vl_keras.data.modalities import MODALITIES
from vl_keras.data.row_status import OK
from vl_keras.data.serve_contents import serve_contents
from vl_keras.tasks.serving_signature import ServingSignature


def serving_functions(
    signatures: Mapping[str, ServingSignature],
    data: DataConfig,
    weights: Callable[[], AbstractContextManager] | None = None,
) -> dict[str, tf.types.experimental.PolymorphicFunction]:
    """Wraps what a task answers so that it takes what clients send.

    An input that is a modality takes its bytes under `Modality.served_name` (`image` becomes `image_bytes`); all other
    inputs are texts. `status` `(B,)` is added to the outputs: `ok`, or why the row has no answer, whose strings are
    then empty and whose numbers zero. A row is good only if all of its inputs are. Preprocessing is that of training.

    Args:
        signatures: dict of name -> `ServingSignature`.
        data: `DataConfig` that the modalities decode by.
        weights: context manager under which the functions' graphs are built; see `StoredWeights.in_place`.

    Returns:
        Dict of name -> `tf.function` with a fixed input signature of `(B,)` strings.
    """
    weights = weights or contextlib.nullcontext
    return {name: _function(name, signature, data, weights) for name, signature in signatures.items()}


def served_inputs(signature: ServingSignature) -> dict[str, str]:
    """Dict of a signature's inputs -> the names that clients send them under."""
    return {name: MODALITIES[name].served_name if name in MODALITIES else name for name in signature.inputs}


def _function(
    name: str, signature: ServingSignature, data: DataConfig, weights: Callable[[], AbstractContextManager]
) -> tf.types.experimental.PolymorphicFunction:
    def ask(*strings: tf.Tensor) -> dict[str, tf.Tensor]:
        count = tf.shape(strings[0])[0]
        # A batch without rows is answered by cutting off one that is: not every operation takes none.
        extra = tf.fill([tf.maximum(1 - count, 0)], "")
        inputs, status = {}, tf.fill([tf.maximum(count, 1)], OK)
        for key, rows in zip(signature.inputs, strings, strict=True):
            inputs[key] = tf.concat([rows, extra], axis=0)
            if key in MODALITIES:
                inputs[key], inputs[f"{key}_mask"], own = serve_contents(inputs[key], MODALITIES[key], data)
                status = _both(status, own)
        good = status == OK
        with weights():
            outputs = signature.function(inputs)
        answer = {**{key: _blank(value, good) for key, value in outputs.items()}, "status": status}
        return {key: value[:count] for key, value in answer.items()}

    ask.__name__ = name
    specs = [tf.TensorSpec([None], tf.string, name=name) for name in served_inputs(signature).values()]
    return tf.function(ask, input_signature=specs, autograph=False)


def _both(status: tf.Tensor, other: tf.Tensor) -> tf.Tensor:
    """`(B,)` statuses of two inputs as one: of two that are bad, both are told."""
    joined = tf.strings.join([status, other], separator="; ")
    return tf.where(status == OK, other, tf.where(other == OK, status, joined))


def _blank(value: tf.Tensor, good: tf.Tensor) -> tf.Tensor:
    """`value` `(B, …)` with empty strings or zeros in the rows that are not good."""
    good = tf.reshape(good, tf.concat([tf.shape(good), tf.ones(tf.rank(value) - 1, tf.int32)], axis=0))
    return tf.where(good, value, tf.constant("") if value.dtype == tf.string else tf.zeros([], value.dtype))
