"""One loaded version of one model."""

import asyncio
import functools
import time
from collections.abc import Mapping, Sequence

import grpc
import numpy as np
from tensorflow.core.framework import types_pb2
from tensorflow.core.protobuf import meta_graph_pb2

from export.server.graph import Graph
from export.server.metrics import Metrics
from export.server.run_queue import RunQueue
from export.server.run_scheduler import RunScheduler
from export.server.serving_error import ServingError
from export.server.tensor_protos import array_dtype, base_dtype, to_array

DEFAULT_SIGNATURE = "serving_default"
_METHODS = tuple(f"tensorflow/serving/{method}" for method in ("predict", "classify", "regress"))
_CPP_NAMES = {types_pb2.DT_FLOAT: "float", types_pb2.DT_DOUBLE: "double", types_pb2.DT_HALF: "half"}


class Servable:
    """One loaded version of one model.

    Attributes:
        name: name of the model.
        version: number of the version.
        signatures: dict of name -> `SignatureDef`.
    """

    def __init__(
        self,
        name: str,
        version: int,
        graph: Graph,
        scheduler: RunScheduler,
        metrics: Metrics | None = None,
        check_methods: bool = False,
    ) -> None:
        """Args:
        name: name of the model.
        version: number of the version.
        graph: the loaded graph.
        scheduler: its threads run the graph.
        metrics: receive the duration of each run.
        check_methods: reject signatures without a method name.
        """
        self.name = name
        self.version = version
        self.signatures = graph.signatures
        self._graph = graph
        self._scheduler = scheduler
        self._metrics = metrics
        self._check_methods = check_methods
        self._queues: dict[str, RunQueue] = {}

    async def run(
        self,
        signature_name: str,
        inputs: Mapping[str, np.ndarray],
        outputs: Sequence[str] | None = None,
        deadline: float | None = None,
    ) -> dict[str, np.ndarray]:
        """Runs a signature.

        Args:
            signature_name: key of `signatures`; empty for `serving_default`.
            inputs: dict of alias -> array; strings as object arrays of bytes.
            outputs: aliases of the outputs to return; None or empty for all.
            deadline: time of the event loop (`loop.time()`) after which the request is not run, or its run is stopped;
                None: no deadline.

        Returns:
            Dict of alias -> array.

        Raises:
            ServingError: the request does not match the signature, the model failed, the queue is full, or the
                deadline has passed.
        """
        signature_name = signature_name or DEFAULT_SIGNATURE
        signature = self.signature(signature_name)
        inputs, outputs = self._checked(signature, inputs, outputs)
        queue = self._queues.get(signature_name)
        if queue is None:
            queue = self._scheduler.queue(functools.partial(self._execute, signature))
            self._queues[signature_name] = queue
        return await queue.submit(inputs, outputs, deadline)

    def execute(
        self, signature_name: str, inputs: Mapping[str, np.ndarray], outputs: Sequence[str] | None = None
    ) -> dict[str, np.ndarray]:
        """Like `run`, but at once and on the calling thread; for warm-up."""
        signature = self.signature(signature_name)
        return self._execute(signature, *self._checked(signature, inputs, outputs))

    def signature(self, name: str) -> meta_graph_pb2.SignatureDef:
        """The `SignatureDef` of a name; empty for `serving_default`.

        Raises:
            ServingError: FAILED_PRECONDITION; the signature does not exist. INTERNAL; it has no method name.
        """
        signature = self.signatures.get(name or DEFAULT_SIGNATURE)
        if signature is None:
            raise ServingError(
                grpc.StatusCode.FAILED_PRECONDITION, f'Serving signature key "{name or DEFAULT_SIGNATURE}" not found.'
            )
        if self._check_methods and signature.method_name not in _METHODS:
            raise ServingError(
                grpc.StatusCode.INTERNAL,
                f"Expected prediction signature method_name to be one of {{{', '.join(_METHODS)}}}. Was: "
                f"{signature.method_name}",
            )
        return signature

    async def drained(self) -> None:
        """Waits until no run is in progress: a run may outlast its request."""
        while any(queue.running or queue.tasks for queue in self._queues.values()):
            await asyncio.sleep(0.01)

    def close(self) -> None:
        """Frees the memory. No run may be in progress."""
        self._graph.close()

    def _checked(
        self, signature: meta_graph_pb2.SignatureDef, inputs: Mapping[str, np.ndarray], outputs: Sequence[str] | None
    ) -> tuple[dict[str, np.ndarray], tuple[str, ...]]:
        """The inputs with the defaults of the signature, and the aliases of the outputs.

        The order of the checks is that of TensorFlow Serving: names of inputs, names of outputs, types. The types are
        those of the graph: some published models declare others, which TensorFlow Serving does not notice.
        """
        inputs = _named_inputs(signature, inputs)
        outputs = _checked_outputs(signature, outputs)
        for index, (alias, array) in enumerate(inputs.items()):
            info = signature.inputs[alias]
            got, expected = array_dtype(array), self._graph.dtype(info.name)
            if expected is None:  # the run raises the error
                expected = base_dtype(info.dtype)
            if got != expected:
                raise _invalid(f"Expects arg[{index}] to be {_type_name(expected)} but {_type_name(got)} is provided")
        return inputs, outputs

    def _execute(
        self,
        signature: meta_graph_pb2.SignatureDef,
        inputs: Mapping[str, np.ndarray],
        outputs: Sequence[str],
        deadline: float | None = None,
    ) -> dict[str, np.ndarray]:
        started = time.perf_counter()
        feeds = {}
        for alias, array in inputs.items():
            name = signature.inputs[alias].name
            if name in feeds:  # the message of TensorFlow
                raise _invalid(f'Endpoint "{name}" fed more than once.')
            feeds[name] = array
        names = {alias: signature.outputs[alias].name for alias in outputs}
        results = self._graph.run(feeds, names.values(), deadline)
        if self._metrics is not None:
            self._metrics.observe_run(self.name, time.perf_counter() - started)
        return {alias: results[name] for alias, name in names.items()}


def _named_inputs(signature: meta_graph_pb2.SignatureDef, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    wanted = signature.inputs
    if len(inputs) > len(wanted) or (len(inputs) < len(wanted) and not signature.defaults):
        extra, missing = sorted(set(inputs) - set(wanted)), sorted(set(wanted) - set(inputs))
        raise _invalid(
            f"input size does not match signature: {len(inputs)}!={len(wanted)} len({{{','.join(sorted(inputs))}}}) != "
            f"len({{{','.join(sorted(wanted))}}}). Sent extra: {{{','.join(extra)}}}. Missing but required: "
            f"{{{','.join(missing)}}}."
        )
    named = {}
    for alias in sorted(wanted):
        if alias in inputs:
            named[alias] = inputs[alias]
        elif alias in signature.defaults:
            named[alias] = to_array(signature.defaults[alias], alias)
        else:
            raise _invalid(
                f"Signature input alias: {alias}(feed name: {wanted[alias].name}) not found in request and no default "
                f"value provided. Inputs expected to be in the request {{{','.join(sorted(inputs))}}}, or default "
                f"input alias set: {','.join(sorted(signature.defaults))}"
            )
    used = sorted(set(inputs) & set(wanted))
    if len(used) != len(inputs):  # a default value stands in for an input with a misspelt name
        raise _invalid(
            f"Inputs contains invalid name. Used request inputs: {','.join(used)}, request input: "
            f"{','.join(sorted(inputs))}"
        )
    return named


def _checked_outputs(signature: meta_graph_pb2.SignatureDef, outputs: Sequence[str] | None) -> tuple[str, ...]:
    if not outputs:
        return tuple(signature.outputs)
    seen = set()
    for alias in outputs:
        if alias not in signature.outputs:
            raise _invalid(
                f"output tensor alias not found in signature: {alias} Outputs expected to be in the set "
                f"{{{','.join(sorted(signature.outputs))}}}."
            )
        if alias in seen:
            raise _invalid(f"duplicate output tensor alias: {alias}")
        seen.add(alias)
    return tuple(outputs)


def _type_name(number: int) -> str:
    return _CPP_NAMES.get(number) or types_pb2.DataType.Name(number).removeprefix("DT_").lower()


def _invalid(message: str) -> ServingError:
    return ServingError(grpc.StatusCode.INVALID_ARGUMENT, message)
