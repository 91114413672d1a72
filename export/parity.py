"""The check before publishing: the SavedModel must give the same outputs as the model in memory."""

import vl_keras  # noqa: F401  selects Keras 2 before TensorFlow is imported

# isort: split
import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from export.errors import ExportError
from export.signatures import served_inputs
from vl_keras.config import DataConfig
from vl_keras.data.modalities import MODALITIES, Modality
from vl_keras.data.row_status import OK
from vl_keras.tasks.serving_signature import ServingSignature

_SAME_SHAPE, _OTHER_SHAPE = 1e-5, 1e-4  # largest difference of a number, at the same and at another batch shape
_TEXTS = ("a dog runs on the beach", "", "two people, a red car and a tree", "Ein Hund läuft", "犬が走る")


class Parity(NamedTuple):
    """Result of the comparison.

    Attributes:
        rows: rows compared at the batch shape of the model in memory.
        largest: largest difference of a number at that shape.
        alone: rows that were also run in a batch of one.
        largest_alone: largest difference of a number in a batch of one, without attention weights.
        ties: `signature, row` whose strings differ in a batch of one although the scores differ by at most 1e-4.
    """

    rows: int
    largest: float
    alone: int
    largest_alone: float
    ties: list[str]


def check_parity(
    folder: str | Path,
    signatures: Mapping[str, ServingSignature],
    data: DataConfig,
    contents: Mapping[str, Mapping[str, bytes]] | None = None,
) -> Parity:
    """Runs contents and texts through a SavedModel and through the functions it was made from.

    At the same batch shape, strings must be equal and numbers must agree within 1e-5. Each row is also run in a batch
    of one: numbers (except attention weights) must agree within 1e-4; strings may differ only if the signature gives
    scores, since two candidates may tie.

    Args:
        folder: of the SavedModel.
        signatures: dict of name -> `ServingSignature` of the model in memory.
        data: `DataConfig` that the modalities decode by.
        contents: dict of modality -> dict of name -> its bytes, all of them valid; None: `Modality.golden`.

    Returns:
        `Parity`.

    Raises:
        ExportError: the outputs differ; the message names the signature and the row.
    """
    served = tf.saved_model.load(str(folder)).signatures
    if contents is None:
        contents = {name: modality.golden() for name, modality in MODALITIES.items()}
    names = max((list(named) for named in contents.values()), key=len)  # of the rows
    files = {name: _rows(list(named.values()), len(names)) for name, named in contents.items()}
    texts = _rows([text.encode() for text in _TEXTS], len(names))
    largest, largest_alone, ties, rows, alone = 0.0, 0.0, [], 0, 0
    for name, signature in signatures.items():
        inputs = {}
        for key in signature.inputs:
            if key in MODALITIES:
                inputs[key], inputs[f"{key}_mask"] = _decode(files[key], MODALITIES[key], data)
            else:
                inputs[key] = texts
        sent = {key: files.get(name, texts) for name, key in served_inputs(signature).items()}
        expected = _numpy(tf.function(signature.function, autograph=False)(_tensors(inputs)))
        actual = _numpy(served[name](**_tensors(sent)))
        for row, status in enumerate(actual.pop("status")):
            if status != OK.encode():
                raise ExportError(f"The SavedModel rejects {names[row]} in `{name}`: {status.decode()}.")
        for key, value in expected.items():
            largest = max(largest, _compare(value, actual[key], f"`{name}`, output `{key}`", names))
        rows += len(names)
        for row in range(len(names)):
            single = _numpy(served[name](**_tensors({key: value[row : row + 1] for key, value in sent.items()})))
            difference, tie = _compare_alone(actual, single, row, f"`{name}`, {names[row]}")
            largest_alone, alone = max(largest_alone, difference), alone + 1
            ties += [f"{name}, {names[row]}"] if tie else []
    return Parity(rows, largest, alone, largest_alone, ties)


def _rows(values: Sequence[bytes], count: int) -> np.ndarray:
    """`(count,)` object array that repeats the values as often as needed."""
    rows = np.empty(count, object)
    rows[:] = list(itertools.islice(itertools.cycle(values), count))
    return rows


def _decode(contents: np.ndarray, modality: Modality, data: DataConfig) -> tuple[np.ndarray, np.ndarray]:
    """Contents decoded one by one, `(B, …)` float32 and their mask, as `serve_contents` gives them."""
    values = [np.asarray(modality.decode(tf.constant(content), data), np.float32) for content in contents]
    if not modality.varies(data):
        return np.stack(values), np.ones(len(values), bool)
    longest = max(len(value) for value in values)
    padded = np.zeros((len(values), longest, *values[0].shape[1:]), np.float32)
    for row, value in zip(padded, values, strict=True):
        row[: len(value)] = value
    return padded, np.arange(longest) < np.array([[len(value)] for value in values])


def _compare(expected: np.ndarray, actual: np.ndarray, what: str, names: Sequence[str]) -> float:
    """Largest difference of a number. Raises `ExportError` if it is too large or if strings differ."""
    if expected.shape != actual.shape:
        raise ExportError(
            f"The SavedModel returns {what} with shape {actual.shape}, the model in memory {expected.shape}."
        )
    if expected.dtype == object:
        for row, (one, other) in enumerate(zip(expected, actual, strict=True)):
            if np.any(one != other):
                raise ExportError(
                    f"The SavedModel returns {what} of {names[row]} as {other}, the model in memory {one}."
                )
        return 0.0
    difference = float(np.max(np.abs(expected - actual), initial=0.0))
    if not difference <= _SAME_SHAPE:
        raise ExportError(
            f"The SavedModel and the model in memory differ by {difference:.2e} in {what}; at most {_SAME_SHAPE:g} "
            "is allowed."
        )
    return difference


def _compare_alone(
    actual: Mapping[str, np.ndarray], single: Mapping[str, np.ndarray], row: int, what: str
) -> tuple[float, bool]:
    """Largest difference of a number if the row is run alone, and whether its strings differ (a tie)."""
    scores = [key for key, value in actual.items() if value.dtype == np.float32 and key != "attention"]
    difference = max((float(np.max(np.abs(actual[key][row] - single[key][0]))) for key in scores), default=0.0)
    if not difference <= _OTHER_SHAPE:
        raise ExportError(f"{what}: run alone, a number differs by {difference:.2e} from the same row in a batch.")
    strings = [key for key, value in actual.items() if value.dtype == object]
    differ = any(np.any(actual[key][row] != single[key][0]) for key in strings)
    if differ and not scores:
        raise ExportError(f"{what}: run alone, the strings differ from those of the same row in a batch.")
    return difference, differ


def _tensors(values: Mapping[str, np.ndarray]) -> dict[str, tf.Tensor]:
    return {key: tf.constant(value.tolist() if value.dtype == object else value) for key, value in values.items()}


def _numpy(tensors: Mapping[str, tf.Tensor]) -> dict[str, np.ndarray]:
    return {key: value.numpy() for key, value in tensors.items()}
