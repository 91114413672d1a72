"""What happens to every gRPC call before its handler: the token, the count, the limits."""

import hmac
from collections.abc import Awaitable, Callable
from typing import Any

import grpc
from google.protobuf.message import DecodeError

_WATCH = "/grpc.health.v1.Health/Watch"
_MOST_WATCHES = 1000
_LONGEST_SERVICE = 1000  # characters of the name of a service


class TokenInterceptor(grpc.aio.ServerInterceptor):
    """Rejects requests without the token, except the health checks of orchestrators."""

    def __init__(self, token: str) -> None:
        self._expected = b"Bearer " + token.encode()

        async def refuse(request: Any, context: grpc.aio.ServicerContext) -> None:
            await context.abort(grpc.StatusCode.UNAUTHENTICATED, "The request has no valid bearer token.")

        self._refuse = grpc.unary_unary_rpc_method_handler(refuse)

    async def intercept_service(
        self, continuation: Callable[..., Awaitable[Any]], details: grpc.HandlerCallDetails
    ) -> grpc.RpcMethodHandler:
        given = dict(details.invocation_metadata).get("authorization", "")
        given = given if isinstance(given, bytes) else given.encode()
        if hmac.compare_digest(given, self._expected) or details.method.startswith("/grpc.health."):
            return await continuation(details)
        return self._refuse


class CallInterceptor(grpc.aio.ServerInterceptor):
    """Counts calls, rejects them while the server stops, and responds INTERNAL to bytes that are not a message.

    By default gRPC would log a traceback for such bytes and send the names of Python classes to the client.

    Attributes:
        count: number of calls.
        is_refusing: whether new calls are rejected with UNAVAILABLE.
    """

    def __init__(self) -> None:
        self.count = 0
        self.is_refusing = False
        self._handlers: dict[str, Any] = {}
        self._watches = 0

    async def intercept_service(
        self, continuation: Callable[..., Awaitable[Any]], details: grpc.HandlerCallDetails
    ) -> grpc.RpcMethodHandler | None:
        self.count += 1
        handler = self._handlers.get(details.method)
        if handler is None:
            handler = await continuation(details)
            if handler is not None and handler.unary_unary is not None:
                handler = self._handlers[details.method] = self._wrap(handler)
            elif details.method == _WATCH:
                handler = self._handlers[details.method] = self._wrap_watch(handler)
        return handler

    def _wrap_watch(self, handler: grpc.RpcMethodHandler) -> grpc.RpcMethodHandler:
        """A stream stays open as long as its client wants, so their number needs a bound."""

        async def watch(request: Any, context: grpc.aio.ServicerContext) -> None:
            if self._watches >= _MOST_WATCHES or len(request.service) > _LONGEST_SERVICE:
                await context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "There are too many health watches.")
            self._watches += 1
            try:
                await handler.unary_stream(request, context)
            finally:
                self._watches -= 1

        return grpc.unary_stream_rpc_method_handler(watch, handler.request_deserializer, handler.response_serializer)

    def _wrap(self, handler: grpc.RpcMethodHandler) -> grpc.RpcMethodHandler:
        def parse(data: bytes) -> Any:
            try:
                return handler.request_deserializer(data)
            except DecodeError:
                return None

        async def handle(request: Any, context: grpc.aio.ServicerContext) -> Any:
            if self.is_refusing:
                await context.abort(grpc.StatusCode.UNAVAILABLE, "The server is shutting down.")
            if request is None:
                await context.abort(grpc.StatusCode.INTERNAL, "The request is not a message of this method.")
            return await handler.unary_unary(request, context)

        return grpc.unary_unary_rpc_method_handler(handle, parse, handler.response_serializer)
