"""gRPC channels, for threads and for asyncio."""

from pathlib import Path

import grpc

from export.client.call import Failure
from export.errors import ExportError

_OPTIONS = (
    ("grpc.max_receive_message_length", -1),
    ("grpc.max_send_message_length", -1),
    ("grpc.enable_retries", 0),  # the client's own retries know the deadline
    ("grpc.lb_policy_name", "round_robin"),  # over all addresses of the name, as a headless Service of Kubernetes has
    ("grpc.max_reconnect_backoff_ms", 2000),
)


class GrpcConnection:
    """One channel, kept open; safe to share among threads.

    Args:
        address: `Address`.
        headers: dict of metadata for each call.
        tls: `(ca_file, certificate_file, key_file)`, each None or a path.
    """

    def __init__(self, address, headers, tls):
        self._metadata = tuple(headers.items())
        self._channel = _open(grpc, address, tls)
        self._methods = {}

    def send(self, call, timeout):
        """The answer's message, or `Failure`."""
        try:
            return _method(self, call)(call.body, timeout=timeout, metadata=self._metadata)
        except grpc.RpcError as error:
            return _failure(error)

    def close(self):
        self._channel.close()


class AsyncGrpcConnection:
    """`GrpcConnection` for one event loop, in which it must be made."""

    def __init__(self, address, headers, tls):
        self._metadata = tuple(headers.items())
        self._channel = _open(grpc.aio, address, tls)
        self._methods = {}

    async def send(self, call, timeout):
        """The answer's message, or `Failure`."""
        try:
            return await _method(self, call)(call.body, timeout=timeout, metadata=self._metadata)
        except grpc.RpcError as error:
            return _failure(error)

    async def close(self):
        await self._channel.close()


def _open(library, address, tls):
    if not address.is_secure:
        return library.insecure_channel(address.netloc, options=_OPTIONS)
    try:
        ca, certificate, key = (None if path is None else Path(path).expanduser().read_bytes() for path in tls)
    except OSError as error:
        raise ExportError(f"Cannot read `{error.filename}`: {error.strerror}.") from error
    if (certificate is None) != (key is None):  # gRPC would end the whole process
        raise ExportError(f"gRPC needs `certificate_file` and `key_file` together; got {tls[1]} and {tls[2]}.")
    credentials = grpc.ssl_channel_credentials(ca, key, certificate)
    return library.secure_channel(address.netloc, credentials, options=_OPTIONS)


def _method(connection, call):
    method = connection._methods.get(call.target)
    if method is None:
        method = connection._methods[call.target] = connection._channel.unary_unary(
            call.target,
            request_serializer=lambda message: message.SerializeToString(),
            response_deserializer=call.reply.FromString,
        )
    return method


def _failure(error):
    return Failure(error.code().name, error.details() or "")
