"""The gate before publishing: the written SavedModel answers what the model in memory answers."""

import vl_keras  # noqa: F401  selects Keras 2 before TensorFlow is imported

# isort: split
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from export.errors import ExportError
from export.images import OK
from vl_keras.data.image_ops import decode_image, resize

_SAME_SHAPE, _OTHER_SHAPE = 1e-5, 1e-4  # largest difference of a score
_TEXTS = ("a dog runs on the beach", "", "two people, a red car and a tree", "Ein Hund läuft", "犬が走る")


class Parity(NamedTuple):
    """What was compared.

    Attributes:
        rows: answers compared at the batch shape of the model in memory.
        largest: largest difference of a number there.
        alone: answers compared with those of each row by itself.
        largest_alone: largest difference of a number there, attention aside.
        ties: `signature, row` whose strings differ by itself, with scores no further apart than 1e-4.
    """

    rows: int
    largest: float
    alone: int
    largest_alone: float
    ties: list


def check_parity(folder, signatures, image_size, image_files):
    """Runs images through a SavedModel and through the functions it was made from.

    At the same batch shape strings must be equal and numbers within 1e-5; of each row by itself, numbers within
    1e-4 (attention aside), and strings equal unless their scores lie that close.

    Args:
        folder: of the SavedModel.
        signatures: dict of name -> `ServingSignature`, in memory.
        image_size: `(height, width)` that the model sees.
        images: dict of name -> file bytes; all must be readable.

    Returns:
        `Parity`.

    Raises:
        ExportError: it answers something else; the message says which signature and row.
    """
    served = tf.saved_model.load(str(folder)).signatures
    names = list(image_files)
    data = np.array(list(image_files.values()), object)
    texts = np.array([_TEXTS[i % len(_TEXTS)].encode() for i in range(len(data))], object)
    images = np.stack([resize(decode_image(item), image_size) for item in data])
    largest, largest_alone, ties, rows, alone = 0.0, 0.0, [], 0, 0
    for name, signature in signatures.items():
        inputs = {key: images if key == "image" else texts for key in signature.inputs}
        sent = {"image_bytes" if key == "image" else key: data if key == "image" else texts for key in inputs}
        expected = _numpy(tf.function(signature.function, autograph=False)(_tensors(inputs)))
        answer = _numpy(served[name](**_tensors(sent)))
        for row, status in enumerate(answer.pop("status")):
            if status != OK.encode():
                raise ExportError(f"The SavedModel refuses {names[row]} in `{name}`: {status.decode()}.")
        for key, value in expected.items():
            largest = max(largest, _compare(value, answer[key], f"`{name}`, output `{key}`", names))
        rows += len(data)
        for row in range(len(data)):
            single = _numpy(served[name](**_tensors({key: value[row : row + 1] for key, value in sent.items()})))
            apart, tie = _compare_alone(answer, single, row, f"`{name}`, {names[row]}")
            largest_alone, alone = max(largest_alone, apart), alone + 1
            ties += [f"{name}, {names[row]}"] if tie else []
    return Parity(rows, largest, alone, largest_alone, ties)


def _compare(expected, answer, what, names):
    """Largest difference of a number; raises where it is too large or where strings differ."""
    if expected.shape != answer.shape:
        raise ExportError(f"The SavedModel gives {what} in shape {answer.shape}, the model in memory {expected.shape}.")
    if expected.dtype == object:
        for row, (one, other) in enumerate(zip(expected, answer, strict=True)):
            if np.any(one != other):
                raise ExportError(f"The SavedModel gives {what} of {names[row]} as {other}, the model in memory {one}.")
        return 0.0
    apart = float(np.max(np.abs(expected - answer), initial=0.0))
    if not apart <= _SAME_SHAPE:
        raise ExportError(
            f"The SavedModel's {what} is {apart:.2e} from the model in memory; {_SAME_SHAPE:g} is the most."
        )
    return apart


def _compare_alone(answer, single, row, what):
    """Difference of the scores of a row by itself, and whether its strings differ although the scores tie."""
    scores = [key for key, value in answer.items() if value.dtype == np.float32 and key != "attention"]
    apart = max((float(np.max(np.abs(answer[key][row] - single[key][0]))) for key in scores), default=0.0)
    if not apart <= _OTHER_SHAPE:
        raise ExportError(f"Of {what}, a number by itself is {apart:.2e} from that in a batch.")
    strings = [key for key, value in answer.items() if value.dtype == object]
    differ = any(np.any(answer[key][row] != single[key][0]) for key in strings)
    if differ and not scores:
        raise ExportError(f"Of {what}, the answer by itself is not that in a batch.")
    return apart, differ


def _tensors(values):
    return {key: tf.constant(value.tolist() if value.dtype == object else value) for key, value in values.items()}


def _numpy(tensors):
    return {key: value.numpy() for key, value in tensors.items()}
