"""PredictionService, ModelService, health and reflection over gRPC."""

import asyncio
import hmac
import logging
import time
from concurrent.futures import ThreadPoolExecutor

import grpc
from google.protobuf.message import DecodeError
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
from export.server.core import answered_by
from export.server.serving_error import ServingError
from export.server.tensor_protos import to_array, to_proto

_log = logging.getLogger("export.server")
_INLINE_BYTES = 2**18
_LAST_CALLS_S = 1.0  # how long a stop waits for each: the last calls to come in, and to be refused
_MOST_TEXT = 1024  # bytes of an error
_SERVICES = ("tensorflow.serving.PredictionService", "tensorflow.serving.ModelService")
_MESSAGE_BYTES = 2**31 - 1


class GrpcFrontend:
    """Serves a `ServerCore` over gRPC.

    Attributes:
        port: that it listens on; None for none.
    """

    def __init__(self, core, host, port, *, socket_path="", credentials=None, token=None, arguments=()):
        """Binds the port; nothing is answered before `start`.

        Args:
            core: `ServerCore`.
            host: address to listen on.
            port: 0: none; -1 takes a free one.
            socket_path: UNIX socket to listen on too.
            credentials: `grpc.ServerCredentials`; None for no TLS.
            token: that requests must bear, but for health checks; None for none.
            arguments: pairs of gRPC channel arguments.

        Raises:
            RuntimeError: the port is taken, or the socket cannot be made.
        """
        self._core = core
        self._calls = _CallInterceptor()
        self._server = grpc.aio.server(
            interceptors=[*([_TokenInterceptor(token)] if token else []), self._calls],
            options=[
                ("grpc.max_receive_message_length", _MESSAGE_BYTES),
                ("grpc.max_send_message_length", _MESSAGE_BYTES),
                ("grpc.so_reuseport", 0),  # or a second server would silently take half of the requests
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
        self._watcher = None

    async def start(self):
        """Begins to answer."""
        await self._set_health()
        await self._server.start()
        self._watcher = asyncio.create_task(self._watch_health())

    async def stop(self, grace):
        """Takes no new request, answers those it has within `grace` seconds, and ends."""
        if self._watcher is not None:
            self._watcher.cancel()
            await self._health.enter_graceful_shutdown()
            # The library's stop cancels the calls that it has received and not given to us yet. So those are let in
            # first; clients that go on calling are then told to go elsewhere.
            await self._wait_until_quiet()
            self._calls.is_refusing = True
            await self._wait_until_quiet()
        await self._server.stop(grace)

    async def _wait_until_quiet(self):
        until, quiet = asyncio.get_running_loop().time() + _LAST_CALLS_S, 0
        while quiet < 3 and asyncio.get_running_loop().time() < until:
            seen = self._calls.count
            await asyncio.sleep(_LAST_CALLS_S / 20)
            quiet = quiet + 1 if self._calls.count == seen else 0

    def _listen(self, address, credentials):
        if credentials is None:
            return self._server.add_insecure_port(address)
        return self._server.add_secure_port(address, credentials)

    async def _watch_health(self):
        while True:
            await asyncio.sleep(0.1)
            await self._set_health()

    async def _set_health(self):
        status = health_pb2.HealthCheckResponse
        serving = status.SERVING if self._core.models.all_available() else status.NOT_SERVING
        for name in ("", *_SERVICES):
            await self._health.set(name, serving)


class _PredictionService(prediction_service_pb2_grpc.PredictionServiceServicer):
    def __init__(self, core):
        self._core = core
        self._threads = ThreadPoolExecutor(2, thread_name_prefix="grpc-tensors")

    async def Predict(self, request, context):
        return await _answer(self._core, "Predict", request.model_spec.name, context, self._predict, request)

    async def Classify(self, request, context):
        return await _answer(self._core, "Classify", request.model_spec.name, context, self._classify, request)

    async def Regress(self, request, context):
        return await _answer(self._core, "Regress", request.model_spec.name, context, self._regress, request)

    async def MultiInference(self, request, context):
        return await _answer(self._core, None, "", context, self._core.multi_inference, request)

    async def GetModelMetadata(self, request, context):
        async def metadata(request, deadline):
            return self._core.metadata(request)

        return await _answer(self._core, None, "", context, metadata, request)

    async def _predict(self, request, deadline):
        _need_model_spec(request)
        with self._core.servable(request.model_spec) as servable:
            name = request.model_spec.signature_name
            signature = servable.signature(name)
            inputs = await self._convert(request.ByteSize(), _read_inputs, request)
            outputs = await servable.run(name, inputs, list(request.output_filter), deadline)
            response = predict_pb2.PredictResponse()
            answered_by(response.model_spec, servable, name)
            as_content = self._core.options.enable_serialization_as_tensor_content
            size = sum(array.nbytes for array in outputs.values())
            await self._convert(size, _write_outputs, response, outputs, signature, as_content)
            return response

    async def _convert(self, size, work, *arguments):
        """Runs a conversion, of so many bytes; large ones on a thread, so that small requests go on."""
        if size < _INLINE_BYTES:
            return work(*arguments)
        return await asyncio.get_running_loop().run_in_executor(self._threads, work, *arguments)

    async def _classify(self, request, deadline):
        response = classification_pb2.ClassificationResponse()
        return await self._run_examples(example_apis.CLASSIFY, request, response, deadline)

    async def _regress(self, request, deadline):
        response = regression_pb2.RegressionResponse()
        return await self._run_examples(example_apis.REGRESS, request, response, deadline)

    async def _run_examples(self, method, request, response, deadline):
        _need_model_spec(request)
        with self._core.servable(request.model_spec) as servable:
            name = request.model_spec.signature_name
            self._core.check_examples(servable, name, method)
            examples = example_apis.examples_of(request.input)
            response.result.CopyFrom(await self._core.run_examples(servable, name, method, examples, deadline))
            answered_by(response.model_spec, servable, name)
            return response


class _ModelService(model_service_pb2_grpc.ModelServiceServicer):
    def __init__(self, core):
        self._core = core

    async def GetModelStatus(self, request, context):
        async def status(request, deadline):
            _need_model_spec(request)
            return self._core.model_status(request.model_spec)

        return await _answer(self._core, None, "", context, status, request)

    async def HandleReloadConfigRequest(self, request, context):
        async def reload(request, deadline):
            return await self._core.reload(request)

        return await _answer(self._core, None, "", context, reload, request)


class _TokenInterceptor(grpc.aio.ServerInterceptor):
    """Refuses requests without the token; health checks, which orchestrators send, need none."""

    def __init__(self, token):
        self._expected = b"Bearer " + token.encode()

        async def refuse(request, context):
            await context.abort(grpc.StatusCode.UNAUTHENTICATED, "The request bears no valid token.")

        self._refuse = grpc.unary_unary_rpc_method_handler(refuse)

    async def intercept_service(self, continuation, details):
        given = dict(details.invocation_metadata).get("authorization", "")
        given = given if isinstance(given, bytes) else given.encode()
        if hmac.compare_digest(given, self._expected) or details.method.startswith("/grpc.health."):
            return await continuation(details)
        return self._refuse


class _CallInterceptor(grpc.aio.ServerInterceptor):
    """Counts calls, refuses them while the server stops, and answers bytes that are no message with INTERNAL.

    Left to grpc, such bytes would put a traceback into the log and tell the client of Python's classes.

    Attributes:
        count: of calls.
        is_refusing: whether new ones are UNAVAILABLE.
    """

    def __init__(self):
        self.count = 0
        self.is_refusing = False
        self._handlers = {}

    async def intercept_service(self, continuation, details):
        self.count += 1
        handler = self._handlers.get(details.method)
        if handler is None:
            handler = await continuation(details)
            if handler is not None and handler.unary_unary is not None:
                handler = self._handlers[details.method] = self._wrap(handler)
        return handler

    def _wrap(self, handler):
        def parse(data):
            try:
                return handler.request_deserializer(data)
            except DecodeError:
                return None

        async def answer(request, context):
            if self.is_refusing:
                await context.abort(grpc.StatusCode.UNAVAILABLE, "The server is shutting down.")
            if request is None:
                await context.abort(grpc.StatusCode.INTERNAL, "The request is no message of this method.")
            return await handler.unary_unary(request, context)

        return grpc.unary_unary_rpc_method_handler(answer, parse, handler.response_serializer)


async def _answer(core, api, model, context, work, request):
    """Runs a call, and turns what it raises into the status of the answer; counts it where `api` has a name."""
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
        _log.exception("The server failed")
        code, text = grpc.StatusCode.INTERNAL, "The server failed; its log says more."
    finally:
        if api is not None:
            core.metrics.observe(model, api, "GRPC", code.name, time.perf_counter() - started)
    await context.abort(code, _cut(text))


def _read_inputs(request):
    return {alias: to_array(tensor, alias) for alias, tensor in request.inputs.items()}


def _write_outputs(response, outputs, signature, as_content):
    for alias, array in outputs.items():
        response.outputs[alias].CopyFrom(to_proto(array, signature.outputs[alias].dtype, as_content))


def _need_model_spec(request):
    if not request.HasField("model_spec"):
        raise ServingError(grpc.StatusCode.INVALID_ARGUMENT, "Missing ModelSpec")


def _cut(text):
    raw = text.encode("utf-8", "replace")
    if len(raw) <= _MOST_TEXT:
        return text
    return raw[:_MOST_TEXT].decode("utf-8", "ignore") + "...TRUNCATED"


def _enable_reflection(server):
    # With current protobuf these modules fail halfway, but then their descriptors are known, which is all that is
    # needed here.
    for module in ("prediction_service_pb2", "model_service_pb2"):
        try:
            __import__(f"tensorflow_serving.apis.{module}")
        except AttributeError:
            pass
    names = [*_SERVICES, health.SERVICE_NAME, reflection.SERVICE_NAME]
    reflection.enable_server_reflection(names, server)


def _bracketed(host):
    return f"[{host}]" if ":" in host and not host.startswith("[") else host
