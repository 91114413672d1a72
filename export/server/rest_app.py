"""The REST API of TensorFlow Serving 2.20 (https://www.tensorflow.org/tfx/serving/api_rest) as an ASGI application."""

import asyncio
import concurrent.futures
import hmac
import logging
import re
import time
from collections.abc import Callable, Sequence
from typing import Any

import grpc
from google.protobuf import json_format
from tensorflow_serving.apis import get_model_metadata_pb2, model_pb2

from export.server.asgi import Application, Receive, Scope, Send
from export.server.core import ServerCore
from export.server.example_apis import CLASSIFY, REGRESS
from export.server.json_examples import read_examples
from export.server.json_reader import read_json
from export.server.json_responses import write_classifications, write_regressions, write_tensors
from export.server.json_tensors import read_signature_name, read_tensors
from export.server.json_writer import write_error
from export.server.request_body import BodyTooLarge, Disconnected, gunzip, is_gzipped, read_body
from export.server.rest_target import BadVersion, RestTarget
from export.server.serving_error import ServingError

_HTTP_STATUS = {
    grpc.StatusCode.OK: 200,
    grpc.StatusCode.CANCELLED: 499,
    grpc.StatusCode.INVALID_ARGUMENT: 400,
    grpc.StatusCode.FAILED_PRECONDITION: 400,
    grpc.StatusCode.OUT_OF_RANGE: 400,
    grpc.StatusCode.UNAUTHENTICATED: 401,
    grpc.StatusCode.PERMISSION_DENIED: 403,
    grpc.StatusCode.NOT_FOUND: 404,
    grpc.StatusCode.ALREADY_EXISTS: 409,
    grpc.StatusCode.ABORTED: 409,
    grpc.StatusCode.RESOURCE_EXHAUSTED: 429,
    grpc.StatusCode.UNIMPLEMENTED: 501,
    grpc.StatusCode.UNAVAILABLE: 503,
    grpc.StatusCode.DEADLINE_EXCEEDED: 504,
}  # all others: 500
_JSON = (b"content-type", b"application/json")
_CORS = [
    (b"access-control-allow-origin", b"*"),
    (b"access-control-allow-methods", b"POST, GET"),
    (b"access-control-allow-headers", b"Content-Type"),
]
_NOT_FOUND = b"<HTML><HEAD>\n<TITLE>404 Not Found</TITLE>\n</HEAD><BODY>\n<H1>Not Found</H1>\n</BODY></HTML>\n"
_INLINE_BYTES = 32 * 1024  # larger bodies are converted on a thread, so they do not block other requests
_INLINE_VALUES = 4096
_DRAIN_S = 2  # time to read the rest of a rejected body, so that the client sees the response

_log = logging.getLogger(__name__)


def create_rest_app(
    core: ServerCore,
    *,
    timeout_ms: int = 30_000,
    cors: bool = False,
    monitoring_path: str | None = None,
    token: str | None = None,
    max_body_bytes: int = 256 * 2**20,
) -> Application:
    """Creates the REST front end of a server.

    Args:
        core: `ServerCore`.
        timeout_ms: time limit of a request, which then gets status 504; 0: no limit.
        cors: send headers that allow any web page to call the server.
        monitoring_path: path of the metrics; None: no metrics.
        token: the token that `Authorization: Bearer …` must have; None: no token.
        max_body_bytes: limit for the body of a request as sent.

    Returns:
        An ASGI application.
    """
    return _RestApp(core, timeout_ms, cors, monitoring_path, token, max_body_bytes)


class _RestApp:
    def __init__(
        self,
        core: ServerCore,
        timeout_ms: int,
        cors: bool,
        monitoring_path: str | None,
        token: str | None,
        max_body_bytes: int,
    ) -> None:
        self._core = core
        self._timeout_s = timeout_ms / 1000
        self._cors = _CORS if cors else []
        self._monitoring_path = monitoring_path.encode() if monitoring_path else None
        self._token = b"Bearer " + token.encode() if token else None
        self._max_body_bytes = max_body_bytes
        self._threads = concurrent.futures.ThreadPoolExecutor(2, thread_name_prefix="rest-json")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            raise RuntimeError(f"Only HTTP is supported, not {scope['type']}.")
        path = scope["raw_path"]
        query = b"?" + scope["query_string"] if scope["query_string"] else b""
        if self._token and scope["method"] != "OPTIONS" and not self._is_authorized(scope):
            headers = [_JSON, (b"www-authenticate", b"Bearer")]
            await _respond(send, 401, headers, write_error("A valid bearer token is needed."))
        elif path == self._monitoring_path:
            await self._send_metrics(query, send)
        elif not path.lower().startswith(b"/v1/"):
            await _respond(send, 404, [(b"content-type", b"text/html")], _NOT_FOUND)
        elif scope["method"] == "OPTIONS":
            origin = dict(scope["headers"]).get(b"origin", b"")
            await _respond(send, 200 if re.search(rb"https?://", origin) else 400, self._cors, b"")
        else:
            await self._handle_api(scope, path + query, receive, send)

    def _is_authorized(self, scope: Scope) -> bool:
        given = dict(scope["headers"]).get(b"authorization", b"")
        scheme, _, secret = given.partition(b" ")
        return hmac.compare_digest(scheme.lower().capitalize() + b" " + secret.strip(), self._token)

    async def _send_metrics(self, query: bytes, send: Send) -> None:
        text = self._core.metrics.text()
        if query:
            path = self._monitoring_path
            text = b"Unexpected path: %s%s. Should be %s" % (path, query, path)
        await _respond(send, 400 if query else 200, [(b"content-type", b"text/plain")], text)

    async def _handle_api(self, scope: Scope, path: bytes, receive: Receive, send: Send) -> None:
        start = time.perf_counter()
        model = verb = ""
        code = grpc.StatusCode.OK
        status, body, rest_of_body = None, b"", None
        try:
            target = RestTarget.parse(scope["method"], path)
            model, verb = target.model_spec.name, target.verb
            if verb in ("status", "metadata"):
                body = self._get(target)
            else:
                content = await read_body(scope, receive, self._max_body_bytes)
                body = await self._post_while_connected(target, content, is_gzipped(scope), receive)
        except ServingError as error:
            code = error.code
            body = b"" if isinstance(error, BadVersion) else write_error(error.message)
        except BodyTooLarge:
            code, status, rest_of_body = grpc.StatusCode.RESOURCE_EXHAUSTED, 413, receive
            body = write_error(f"The request is larger than {self._max_body_bytes} bytes.")
        except Disconnected:
            code = grpc.StatusCode.CANCELLED
        except asyncio.CancelledError:  # the server is stopping and the grace period is over
            code = grpc.StatusCode.UNAVAILABLE
            body = write_error("The server is shutting down.")
        except Exception:
            _log.exception("The REST request %s %s failed", scope["method"], path[:200])
            code = grpc.StatusCode.INTERNAL
            body = write_error("Internal error.")
        api = "" if verb in ("status", "metadata") else verb
        self._core.metrics.observe(model, api, "REST", code.name, time.perf_counter() - start)
        await _respond(send, status or _HTTP_STATUS.get(code, 500), [_JSON, *self._cors], body, rest_of_body)

    def _get(self, target: RestTarget) -> bytes:
        if target.verb == "status":
            response = self._core.model_status(target.model_spec)
            return _proto_json(response, False)
        request = get_model_metadata_pb2.GetModelMetadataRequest(
            model_spec=target.model_spec, metadata_field=["signature_def"]
        )
        response = self._core.metadata(request)
        signatures = get_model_metadata_pb2.SignatureDefMap()
        response.metadata["signature_def"].Unpack(signatures)
        return b'{\n"model_spec":%s,\n"metadata": {"signature_def": %s}\n}\n' % (
            _proto_json(response.model_spec, True),
            _proto_json(signatures, True),
        )

    async def _post_while_connected(self, target: RestTarget, content: bytes, gzipped: bool, receive: Receive) -> bytes:
        """`_post`, cancelled when the client disconnects."""
        task: Any = asyncio.current_task()
        is_disconnected = False

        async def watch() -> None:
            nonlocal is_disconnected
            while (await receive())["type"] != "http.disconnect":
                pass
            is_disconnected = True
            task.cancel()

        watcher = asyncio.create_task(watch())
        deadline = asyncio.get_running_loop().time() + self._timeout_s if self._timeout_s > 0 else None
        try:
            async with asyncio.timeout_at(deadline):
                return await self._post(target, content, gzipped, deadline)
        except TimeoutError:
            raise ServingError(grpc.StatusCode.DEADLINE_EXCEEDED, "Timed out waiting for notification") from None
        except asyncio.CancelledError:
            if not is_disconnected:
                raise
            task.uncancel()
            raise Disconnected from None
        finally:
            watcher.cancel()

    async def _post(self, target: RestTarget, content: bytes, gzipped: bool, deadline: float | None) -> bytes:
        is_large = gzipped or len(content) > _INLINE_BYTES
        if gzipped:
            content = await self._convert(True, gunzip, content)
        document = await self._convert(is_large, read_json, content)
        del content
        signature_name = read_signature_name(document)
        if target.verb == "predict":
            return await self._predict(target.model_spec, signature_name, document, is_large, deadline)
        examples = await self._convert(is_large, read_examples, document)
        with self._core.servable(target.model_spec) as servable:
            method = CLASSIFY if target.verb == "classify" else REGRESS
            result = await self._core.run_examples(servable, signature_name, method, examples, deadline)
        return (write_classifications if target.verb == "classify" else write_regressions)(result)

    async def _predict(
        self,
        model_spec: model_pb2.ModelSpec,
        signature_name: str,
        document: dict[str, Any],
        is_large: bool,
        deadline: float | None,
    ) -> bytes:
        with self._core.servable(model_spec) as servable:
            name = signature_name or "serving_default"
            signature = servable.signatures.get(name)
            if signature is None:
                text = f'Serving signature name: "{name}" not found in signature def'
                raise ServingError(grpc.StatusCode.INVALID_ARGUMENT, text)
            inputs, is_row_form = await self._convert(
                is_large, read_tensors, document, signature.inputs, signature_name
            )
            del document
            outputs = await servable.run(name, inputs, None, deadline)
        is_large = sum(tensor.size for tensor in outputs.values()) > _INLINE_VALUES
        return await self._convert(is_large, write_tensors, outputs, is_row_form)

    async def _convert(self, is_large: bool, convert: Callable[..., Any], *args: Any) -> Any:
        if not is_large:
            return convert(*args)
        return await asyncio.get_running_loop().run_in_executor(self._threads, convert, *args)


def _proto_json(message: Any, with_proto_names: bool) -> bytes:
    text = json_format.MessageToJson(
        message,
        indent=1,
        always_print_fields_with_no_presence=True,
        preserving_proto_field_name=with_proto_names,
        ensure_ascii=False,
    )
    return text.encode() + b"\n"


async def _respond(
    send: Send, status: int, headers: Sequence[tuple[bytes, bytes]], body: bytes, rest_of_body: Receive | None = None
) -> None:
    headers = [*headers, (b"content-length", b"%d" % len(body))]
    if rest_of_body:
        headers.append((b"connection", b"close"))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body, "more_body": bool(rest_of_body)})
    if rest_of_body:
        try:
            async with asyncio.timeout(_DRAIN_S):
                while (await rest_of_body()).get("more_body", False):
                    pass
        except TimeoutError:
            pass
        await send({"type": "http.response.body", "body": b"", "more_body": False})
