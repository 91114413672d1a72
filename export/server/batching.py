"""Joins several requests into one batch and splits the outputs again."""

import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import grpc
import numpy as np

from export.errors import ExportError
from export.server.serving_error import ServingError

_MOST_PADDING = 2**26  # bytes; requests that would need more are run one by one


@dataclass(frozen=True)
class BatchingOptions:
    """How requests are batched. The defaults are those of the shared batch scheduler of TensorFlow.

    Attributes:
        max_batch_size: rows in a batch.
        max_request_size: rows of a request; None: `max_batch_size`. Larger ones than a batch are split.
        timeout: seconds that the first request waits for others, even if a thread is free.
        max_enqueued_batches: full batches that may wait per signature of a version.
        num_threads: batches that run in parallel.
        allowed_sizes: ascending batch sizes; batches are padded to the next size with copies of a row. Empty: none.
        pad_lengths: pad inputs to the longest in their batch.
    """

    max_batch_size: int = 1000
    max_request_size: int | None = None
    timeout: float = 0.0
    max_enqueued_batches: int = 10
    num_threads: int = os.cpu_count() or 1
    allowed_sizes: tuple[int, ...] = ()
    pad_lengths: bool = False

    @classmethod
    def from_proto(cls, parameters: Any) -> "BatchingOptions":
        """Reads a `BatchingParameters` message.

        Raises:
            ExportError: a value is out of range.
        """
        given = {
            "max_batch_size": "max_batch_size",
            "max_enqueued_batches": "max_enqueued_batches",
            "num_batch_threads": "num_threads",
            "max_execution_batch_size": "max_execution_size",
        }
        values = {ours: getattr(parameters, name).value for name, ours in given.items() if parameters.HasField(name)}
        for name, ours in given.items():
            if values.get(ours, 1) < 1:
                raise ExportError(f"`{name}` must be at least 1; got {values[ours]}.")
        largest = values.pop("max_execution_size", None)
        if parameters.enable_large_batch_splitting.value:
            values["max_request_size"] = values.get("max_batch_size", cls.max_batch_size)
            values["max_batch_size"] = min(largest or values["max_request_size"], values["max_request_size"])
        options = cls(
            timeout=max(0, parameters.batch_timeout_micros.value) / 1e6,
            allowed_sizes=tuple(parameters.allowed_batch_sizes),
            pad_lengths=parameters.pad_variable_length_inputs,
            **values,
        )
        sizes = options.allowed_sizes
        if sizes and list(sizes) != sorted({size for size in sizes if size > 0}):
            raise ExportError(f"`allowed_batch_sizes` must be ascending; got {', '.join(map(str, sizes))}.")
        if sizes and sizes[-1] != options.max_batch_size:
            raise ExportError(
                f"Last entry in `allowed_batch_sizes` must match `max_batch_size`; last entry was {sizes[-1]}; "
                f"expected {options.max_batch_size}."
            )
        return options

    def padded(self, rows: int) -> int:
        """The batch size to which this number of rows is padded."""
        return next((size for size in self.allowed_sizes if size >= rows), rows)


def count_rows(inputs: Mapping[str, np.ndarray], options: BatchingOptions) -> int:
    """The number of rows of a request.

    Raises:
        ServingError: INVALID_ARGUMENT; there are no inputs, they have no rows or different numbers of rows, or there
            are too many rows.
    """
    if not inputs:
        raise _invalid("Batching Run() must have at least one input tensor")
    sizes = set()
    for array in inputs.values():
        if array.ndim == 0:
            raise _invalid("Batching Run() input tensors must have at least one dimension.")
        sizes.add(array.shape[0])
    if len(sizes) > 1:
        raise _invalid("Batching Run() input tensors must have equal 0th-dimension size.")
    rows = sizes.pop()
    most = options.max_request_size or options.max_batch_size
    if rows > most:
        raise _invalid(f"Task size {rows} is larger than maximum input batch size {most}")
    return rows


def parts_of(inputs: Mapping[str, np.ndarray], rows: int, options: BatchingOptions) -> list[dict[str, np.ndarray]]:
    """Splits a request that is larger than a batch."""
    size = options.max_batch_size
    return [{alias: array[start : start + size] for alias, array in inputs.items()} for start in range(0, rows, size)]


def kind_of(inputs: Mapping[str, np.ndarray], options: BatchingOptions) -> tuple[Any, ...]:
    """Requests with equal keys can be in the same batch."""
    return tuple(
        (alias, array.ndim if options.pad_lengths else array.shape[1:]) for alias, array in sorted(inputs.items())
    )


def join(requests: Sequence[Mapping[str, np.ndarray]], options: BatchingOptions) -> tuple[dict[str, np.ndarray], int]:
    """Concatenates the inputs of requests with the same `kind_of`.

    Args:
        requests: list of dicts of alias -> array.
        options: `BatchingOptions`.

    Returns:
        `(inputs, rows)`: dict of alias -> array, and its number of rows including padding.
    """
    joined, rows = {}, 0
    for alias in requests[0]:
        arrays = [request[alias] for request in requests]
        if options.pad_lengths:
            longest = np.max([array.shape[1:] for array in arrays], axis=0).astype(int)
            padding = math.prod(longest.tolist()) * sum(map(len, arrays)) - sum(array.size for array in arrays)
            if padding * arrays[0].itemsize > _MOST_PADDING:
                raise ServingError(grpc.StatusCode.RESOURCE_EXHAUSTED, f"The lengths of `{alias}` differ too much.")
            arrays = [_lengthen(array, longest) for array in arrays]
        rows = sum(len(array) for array in arrays)
        missing = options.padded(rows) - rows if rows else 0
        if missing:
            row = next(array for array in reversed(arrays) if len(array))[:1]
            arrays += [row] * missing
        joined[alias] = np.concatenate(arrays) if len(arrays) > 1 else arrays[0]
        rows += missing
    return joined, rows


def split(outputs: Mapping[str, np.ndarray], sizes: Sequence[int], rows: int) -> list[dict[str, np.ndarray]]:
    """Splits the outputs of a batch.

    Args:
        outputs: dict of alias -> array.
        sizes: number of rows of each request.
        rows: number of rows of the batch, including padding.

    Returns:
        One dict of alias -> array per request.

    Raises:
        ServingError: FAILED_PRECONDITION; an output has another number of rows than the inputs.
    """
    for array in outputs.values():
        if array.ndim == 0:
            raise ServingError(grpc.StatusCode.FAILED_PRECONDITION, "Batched output tensor has 0 dimensions")
        if array.shape[0] != rows:
            raise ServingError(
                grpc.StatusCode.FAILED_PRECONDITION,
                "Batched output tensor's 0th dimension does not equal the sum of the 0th dimension sizes of the input "
                "tensors",
            )
    ends = np.cumsum(sizes).tolist()
    return [
        {alias: array[end - size : end] for alias, array in outputs.items()}
        for size, end in zip(sizes, ends, strict=True)
    ]


def _lengthen(array: np.ndarray, shape: Sequence[int]) -> np.ndarray:
    """Pads every row with the first element of the array, like TensorFlow Serving."""
    if array.shape[1:] == tuple(shape):
        return array
    longer = np.full((len(array), *shape), array.flat[0] if array.size else np.zeros(1, array.dtype)[0], array.dtype)
    longer[tuple(slice(size) for size in array.shape)] = array
    return longer


def _invalid(message: str) -> ServingError:
    return ServingError(grpc.StatusCode.INVALID_ARGUMENT, message)
