"""gRPC connections, synchronous and for asyncio."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import grpc

from export.client.address import Address
from export.client.call import Call, Failure, Tls
from export.client.proxies import is_loopback, proxy_variable, through
from export.errors import ExportError

_LONGEST_MESSAGE = 4000
_OPTIONS = (
    ("grpc.max_send_message_length", -1),
    ("grpc.enable_retries", 0),  # the client retries itself, because it knows the deadline
    ("grpc.lb_policy_name", "round_robin"),  # over all addresses of the name, e.g. of a headless Service in Kubernetes
    ("grpc.max_reconnect_backoff_ms", 2000),
)


class GrpcConnection:
    """One open channel; threads may share it.

    Args:
        address: of the server.
        headers: metadata of each call.
        tls: `(ca_file, certificate_file, key_file)`, each a path or None.
        max_response_bytes: limit for a response.
    """

    def __init__(self, address: Address, headers: Mapping[str, str], tls: Tls, max_response_bytes: int) -> None:
        self._metadata = tuple(headers.items())
        self._proxy = proxy_variable(address)
        self._channel = _open(grpc, address, tls, max_response_bytes)
        self._methods: dict[str, Any] = {}

    def send(self, call: Call, timeout: float) -> Any:
        """Sends a request; returns the response message or `Failure`."""
        try:
            return _method(self, call)(call.body, timeout=timeout, metadata=self._metadata)
        except grpc.RpcError as error:
            return _failure(error, self._proxy)

    def close(self) -> None:
        """Closes the connection."""
        self._channel.close()


class AsyncGrpcConnection:
    """`GrpcConnection` for asyncio; create it inside its event loop."""

    def __init__(self, address: Address, headers: Mapping[str, str], tls: Tls, max_response_bytes: int) -> None:
        self._metadata = tuple(headers.items())
        self._proxy = proxy_variable(address)
        self._channel = _open(grpc.aio, address, tls, max_response_bytes)
        self._methods: dict[str, Any] = {}

    async def send(self, call: Call, timeout: float) -> Any:
        """Sends a request; returns the response message or `Failure`."""
        try:
            return await _method(self, call)(call.body, timeout=timeout, metadata=self._metadata)
        except grpc.RpcError as error:
            return _failure(error, self._proxy)

    async def close(self) -> None:
        """Closes the connection."""
        await self._channel.close()


def _open(library: Any, address: Address, tls: Tls, max_response_bytes: int) -> Any:
    options = [
        *_OPTIONS,
        ("grpc.max_receive_message_length", min(max_response_bytes, 2**31 - 1)),
        ("grpc.enable_http_proxy", int(not is_loopback(address))),
    ]
    if not address.is_secure:
        return library.insecure_channel(address.netloc, options=options)
    try:
        ca, certificate, key = (None if path is None else Path(path).expanduser().read_bytes() for path in tls)
    except OSError as error:
        raise ExportError(f"Cannot read `{error.filename}`: {error.strerror}.") from error
    if (certificate is None) != (key is None):  # gRPC would abort the process
        raise ExportError(f"gRPC needs `certificate_file` and `key_file` together; got {tls[1]} and {tls[2]}.")
    credentials = grpc.ssl_channel_credentials(ca, key, certificate)
    return library.secure_channel(address.netloc, credentials, options=options)


def _method(connection: GrpcConnection | AsyncGrpcConnection, call: Call) -> Any:
    method = connection._methods.get(call.target)
    if method is None:
        method = connection._methods[call.target] = connection._channel.unary_unary(
            call.target,
            request_serializer=lambda message: message.SerializeToString(),
            response_deserializer=call.response_type.FromString,
        )
    return method


def _failure(error: grpc.RpcError, proxy: str | None) -> Failure:
    code, text = error.code().name, (error.details() or "")[:_LONGEST_MESSAGE]
    return Failure(code, text + through(proxy) if code == "UNAVAILABLE" else text)
