"""Several requests in one run: how they are put together and taken apart again."""

import math
import os
from dataclasses import dataclass

import grpc
import numpy as np

from export.errors import ExportError
from export.server.serving_error import ServingError

_MOST_PADDING = 2**26  # bytes; a batch that would need more is run request by request


@dataclass(frozen=True)
class BatchingOptions:
    """When requests are run together; the defaults are those of TensorFlow's shared batch scheduler.

    Attributes:
        max_batch_size: rows that are run at once.
        max_request_size: rows of a request; None: as many as a batch. A larger request than a batch is run in parts.
        timeout: seconds that the first request waits for others while a thread is free.
        max_enqueued_batches: full batches that may wait, of one model, version and signature.
        num_threads: batches that run at once.
        allowed_sizes: rising; batches are padded with a copied row to the next one. Empty: no padding.
        pad_lengths: pad inputs to the longest of their batch.
    """

    max_batch_size: int = 1000
    max_request_size: int | None = None
    timeout: float = 0.0
    max_enqueued_batches: int = 10
    num_threads: int = os.cpu_count() or 1
    allowed_sizes: tuple = ()
    pad_lengths: bool = False

    @classmethod
    def from_proto(cls, parameters):
        """From a `BatchingParameters` message.

        Raises:
            ExportError: a value that no server would take.
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
            raise ExportError(f"`allowed_batch_sizes` must rise; got {', '.join(map(str, sizes))}.")
        if sizes and sizes[-1] != options.max_batch_size:
            raise ExportError(
                f"Last entry in `allowed_batch_sizes` must match `max_batch_size`; last entry was {sizes[-1]}; "
                f"expected {options.max_batch_size}."
            )
        return options

    def padded(self, rows):
        """The allowed size for so many rows."""
        return next((size for size in self.allowed_sizes if size >= rows), rows)


def count_rows(inputs, options):
    """Rows of a request.

    Raises:
        ServingError: INVALID_ARGUMENT; no inputs, inputs without rows, unequal ones, or more than a batch takes.
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


def parts_of(inputs, rows, options):
    """Cuts a request that is larger than a batch into requests that are not."""
    size = options.max_batch_size
    return [{alias: array[start : start + size] for alias, array in inputs.items()} for start in range(0, rows, size)]


def kind_of(inputs, options):
    """What two requests must have in common to be run together."""
    return tuple(
        (alias, array.ndim if options.pad_lengths else array.shape[1:]) for alias, array in sorted(inputs.items())
    )


def join(requests, options):
    """Puts the inputs of requests of one kind below each other.

    Args:
        requests: list of dicts of alias -> array.
        options: `BatchingOptions`.

    Returns:
        `(inputs, rows)`: one dict of the same aliases, and its rows, padding among them.
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


def split(outputs, sizes, rows):
    """Takes the outputs of a batch apart.

    Args:
        outputs: dict of alias -> array.
        sizes: rows of each request.
        rows: of the batch, with padding.

    Returns:
        A dict of alias -> array for each request.

    Raises:
        ServingError: FAILED_PRECONDITION; an output has not the rows of the inputs.
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


def _lengthen(array, shape):
    """Pads every row with the array's first element, as TensorFlow Serving does."""
    if array.shape[1:] == tuple(shape):
        return array
    longer = np.full((len(array), *shape), array.flat[0] if array.size else np.zeros(1, array.dtype)[0], array.dtype)
    longer[tuple(slice(size) for size in array.shape)] = array
    return longer


def _invalid(message):
    return ServingError(grpc.StatusCode.INVALID_ARGUMENT, message)
