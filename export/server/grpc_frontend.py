"""The gRPC services: PredictionService, ModelService, health and reflection."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
import numpy as np
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection
from tensorflow_serving.apis import (
    classification_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
    regression_pb2,
)

from export.server import example_apis
from export.server.core import ServerCore, fill_model_spec
from export.server.grpc_interceptors import CallInterceptor, TokenInterceptor
from export.server.serving_error import ServingError
from export.server.tensor_protos import array_dtype, to_array, to_proto

_log = logging.getLogger("export.server")
_INLINE_BYTES = 2**18
_LAST_CALLS_S = 1.0  # a stop waits so long for the last calls to arrive, and again for them to be rejected
_MOST_TEXT = 1024  # bytes of an error message
_SERVICES = ("tensorflow.serving.PredictionService", "tensorflow.serving.ModelService")
_MESSAGE_BYTES = 2**31 - 1


class GrpcFrontend:
    """Serves a `ServerCore` over gRPC.

    Attributes:
        port: the port it listens on; None without TCP.
    """

    def __init__(
        self,
        core: ServerCore,
        host: str,
        port: int,
        *,
        socket_path: str = "",
        credentials: grpc.ServerCredentials | None = None,
        token: str | None = None,
        arguments: Iterable[tuple[str, str | int]] = (),
    ) -> None:
        """Binds the port. Requests are handled after `start`.

        Args:
            core: `ServerCore`.
            host: address to listen on.
            port: 0: no TCP; -1 picks a free port.
            socket_path: UNIX socket to listen on as well.
            credentials: `grpc.ServerCredentials`; None: no TLS.
            token: bearer token that all requests except health checks must have; None: no token.
            arguments: pairs of gRPC channel arguments.

        Raises:
            RuntimeError: the port is in use, or the socket cannot be created.
        """
        self._core = core
        self._calls = CallInterceptor()
        self._server = grpc.aio.server(
            interceptors=[*([TokenInterceptor(token)] if token else []), self._calls],
            options=[
                ("grpc.max_receive_message_length", _MESSAGE_BYTES),
                ("grpc.max_send_message_length", _MESSAGE_BYTES),
                ("grpc.so_reuseport", 0),  # otherwise a second server would silently receive half of the requests
                *arguments,
            ],
        )
        prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(_PredictionService(core), self._server)
        model_service_pb2_grpc.add_ModelServiceServicer_to_server(_ModelService(core), self._server)
        self._health = health.aio.HealthServicer()
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        _enable_reflection(self._server)
        self.port = self._listen(f"{_bracketed(host)}:{max(port, 0)}", credentials) if port else None
        if socket_path:
            self._listen(f"unix:{socket_path}", credentials)
        self._watcher: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Starts to handle requests."""
        await self._set_health()
        await self._server.start()
        self._watcher = asyncio.create_task(self._watch_health())

    async def stop(self, grace: float) -> None:
        """Rejects new requests, finishes the accepted ones within `grace` seconds, and stops."""
        if self._watcher is not None:
            self._watcher.cancel()
            await self._health.enter_graceful_shutdown()
            # `Server.stop` cancels the calls that gRPC has received and not yet passed on. So first let them arrive;
            # then reject the calls of clients that continue to send.
            await self._wait_until_quiet()
            self._calls.is_refusing = True
            await self._wait_until_quiet()
        await self._server.stop(grace)

    async def _wait_until_quiet(self) -> None:
        until, quiet = asyncio.get_running_loop().time() + _LAST_CALLS_S, 0
        while quiet < 3 and asyncio.get_running_loop().time() < until:
            seen = self._calls.count
            await asyncio.sleep(_LAST_CALLS_S / 20)
            quiet = quiet + 1 if self._calls.count == seen else 0

    def _listen(self, address: str, credentials: grpc.ServerCredentials | None) -> int:
        if credentials is None:
            return self._server.add_insecure_port(address)
        return self._server.add_secure_port(address, credentials)

    async def _watch_health(self) -> None:
        while True:
            await asyncio.sleep(0.1)
            await self._set_health()

    async def _set_health(self) -> None:
        status = health_pb2.HealthCheckResponse
        serving = status.SERVING if self._core.models.all_available() else status.NOT_SERVING
        for name in ("", *_SERVICES):
            await self._health.set(name, serving)


class _PredictionService(prediction_service_pb2_grpc.PredictionServiceServicer):
    def __init__(self, core: ServerCore) -> None:
        self._core = core
        self._threads = ThreadPoolExecutor(2, thread_name_prefix="grpc-tensors")

    async def Predict(self, request: Any, context: grpc.aio.ServicerContext) -> predict_pb2.PredictResponse:
        return await _handle(self._core, "Predict", request.model_spec.name, context, self._predict, request)

    async def Classify(
        self, request: Any, context: grpc.aio.ServicerContext
    ) -> classification_pb2.ClassificationResponse:
        return await _handle(self._core, "Classify", request.model_spec.name, context, self._classify, request)

    async def Regress(self, request: Any, context: grpc.aio.ServicerContext) -> regression_pb2.RegressionResponse:
        return await _handle(self._core, "Regress", request.model_spec.name, context, self._regress, request)

    async def MultiInference(self, request: Any, context: grpc.aio.ServicerContext) -> Any:
        return await _handle(self._core, None, "", context, self._core.multi_inference, request)

    async def GetModelMetadata(self, request: Any, context: grpc.aio.ServicerContext) -> Any:
        async def metadata(request: Any, deadline: float | None) -> Any:
            return self._core.metadata(request)

        return await _handle(self._core, None, "", context, metadata, request)

    async def _predict(self, request: Any, deadline: float | None) -> predict_pb2.PredictResponse:
        _need_model_spec(request)
        with self._core.servable(request.model_spec) as servable:
            name = request.model_spec.signature_name
            servable.signature(name)  # an unknown one is an error before its tensors are read
            inputs = await self._convert(request.ByteSize(), _read_inputs, request)
            outputs = await servable.run(name, inputs, list(request.output_filter), deadline)
            response = predict_pb2.PredictResponse()
            fill_model_spec(response.model_spec, servable, name)
            as_content = self._core.options.enable_serialization_as_tensor_content
            size = sum(array.nbytes for array in outputs.values())
            await self._convert(size, _write_outputs, response, outputs, as_content)
            return response

    async def _convert(self, size: int, work: Callable[..., Any], *arguments: Any) -> Any:
        """Converts `size` bytes; large conversions run on a thread, so they do not block small requests."""
        if size < _INLINE_BYTES:
            return work(*arguments)
        return await asyncio.get_running_loop().run_in_executor(self._threads, work, *arguments)

    async def _classify(self, request: Any, deadline: float | None) -> Any:
        response = classification_pb2.ClassificationResponse()
        return await self._run_examples(example_apis.CLASSIFY, request, response, deadline)

    async def _regress(self, request: Any, deadline: float | None) -> Any:
        response = regression_pb2.RegressionResponse()
        return await self._run_examples(example_apis.REGRESS, request, response, deadline)

    async def _run_examples(self, method: str, request: Any, response: Any, deadline: float | None) -> Any:
        _need_model_spec(request)
        with self._core.servable(request.model_spec) as servable:
            name = request.model_spec.signature_name
            self._core.check_examples(servable, name, method)
            examples = example_apis.examples_of(request.input)
            response.result.CopyFrom(await self._core.run_examples(servable, name, method, examples, deadline))
            fill_model_spec(response.model_spec, servable, name)
            return response


class _ModelService(model_service_pb2_grpc.ModelServiceServicer):
    def __init__(self, core: ServerCore) -> None:
        self._core = core

    async def GetModelStatus(self, request: Any, context: grpc.aio.ServicerContext) -> Any:
        async def status(request: Any, deadline: float | None) -> Any:
            _need_model_spec(request)
            return self._core.model_status(request.model_spec)

        return await _handle(self._core, None, "", context, status, request)

    async def HandleReloadConfigRequest(self, request: Any, context: grpc.aio.ServicerContext) -> Any:
        async def reload(request: Any, deadline: float | None) -> Any:
            return await self._core.reload(request)

        return await _handle(self._core, None, "", context, reload, request)


async def _handle(
    core: ServerCore,
    api: str | None,
    model: str,
    context: grpc.aio.ServicerContext,
    work: Callable[[Any, float | None], Awaitable[Any]],
    request: Any,
) -> Any:
    """Runs a call, turns its errors into a gRPC status and, if `api` is given, counts it."""
    started = time.perf_counter()
    left = context.time_remaining()
    is_limited = left is not None and core.options.enforce_session_run_timeout
    deadline = asyncio.get_running_loop().time() + left if is_limited else None
    code, text = grpc.StatusCode.OK, ""
    try:
        return await work(request, deadline)
    except ServingError as error:
        code, text = error.code, error.message
    except asyncio.CancelledError:
        code = grpc.StatusCode.CANCELLED
        raise
    except Exception:
        _log.exception("Internal error")
        code, text = grpc.StatusCode.INTERNAL, "Internal error; see the log of the server."
    finally:
        if api is not None:
            core.metrics.observe(model, api, "GRPC", code.name, time.perf_counter() - started)
    await context.abort(code, _cut(text))


def _read_inputs(request: predict_pb2.PredictRequest) -> dict[str, np.ndarray]:
    return {alias: to_array(tensor, alias) for alias, tensor in request.inputs.items()}


def _write_outputs(response: predict_pb2.PredictResponse, outputs: Mapping[str, np.ndarray], as_content: bool) -> None:
    for alias, array in outputs.items():
        response.outputs[alias].CopyFrom(to_proto(array, array_dtype(array), as_content))


def _need_model_spec(request: Any) -> None:
    if not request.HasField("model_spec"):
        raise ServingError(grpc.StatusCode.INVALID_ARGUMENT, "Missing ModelSpec")


def _cut(text: str) -> str:
    raw = text.encode("utf-8", "replace")
    if len(raw) <= _MOST_TEXT:
        return text
    return raw[:_MOST_TEXT].decode("utf-8", "ignore") + "...TRUNCATED"


def _enable_reflection(server: grpc.aio.Server) -> None:
    # With current protobuf these imports fail, but only after registering the descriptors that reflection needs.
    for module in ("prediction_service_pb2", "model_service_pb2"):
        try:
            __import__(f"tensorflow_serving.apis.{module}")
        except AttributeError:
            pass
    names = [*_SERVICES, health.SERVICE_NAME, reflection.SERVICE_NAME]
    reflection.enable_server_reflection(names, server)


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host and not host.startswith("[") else host
