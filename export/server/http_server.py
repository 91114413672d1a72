"""An HTTP server for an ASGI application."""

import asyncio
import contextlib
import ctypes
import errno
import functools
import socket
import struct
import sys
from collections.abc import Collection
from typing import Any

import uvicorn

from export.server.http_protocol import HttpProtocol

_LAST_REQUESTS_S = 0.1  # wait for requests that clients sent before they could notice the stop
_SO_ATTACH_FILTER = 26  # a socket option of Linux
_FIRST_REQUEST_S = 1  # wait for the first request of new connections


class HttpServer:
    """Serves an ASGI application on the running event loop, with uvicorn and httptools.

    Args:
        app: ASGI application.
        host: address to bind.
        port: 0 picks a free one.
        max_header_bytes: limit for the request line and the headers together.
        read_timeout_s: time limit for the headers; the body gets one more second per KiB.
        keep_alive_s: seconds that an idle connection stays open.

    Attributes:
        port: the port in use, after `start`.
        is_stopping: whether `stop` was called.
    """

    def __init__(
        self,
        app: Any,
        host: str = "127.0.0.1",
        port: int = 0,
        *,
        max_header_bytes: int = 65536,
        read_timeout_s: float = 30,
        keep_alive_s: int = 75,
    ) -> None:
        self.port = port
        self.max_header_bytes = max_header_bytes
        self.read_timeout_s = read_timeout_s
        self.is_stopping = False
        self._host = host
        self._config: Any = uvicorn.Config(
            app,
            http=functools.partial(HttpProtocol, self),  # type: ignore[arg-type]  # any callable will do
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            timeout_keep_alive=keep_alive_s,
        )
        self._server: Any = None  # uvicorn's, after `start`
        self._sockets: list[socket.socket] = []
        self._ticks: Any = None

    async def start(self) -> None:
        """Binds the port and accepts connections.

        Raises:
            OSError: the address cannot be bound.
        """
        loop = asyncio.get_running_loop()
        found = await loop.getaddrinfo(self._host, self.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        hosts = {(int(family), str(address[0])) for family, _, _, _, address in found}
        self._sockets = _listen(hosts, self.port, self._config)
        self.port = self._sockets[0].getsockname()[1]
        self._config.load()
        self._server = uvicorn.Server(self._config)
        self._server.lifespan = self._config.lifespan_class(self._config)
        await self._server.startup(self._sockets)
        self._ticks = asyncio.create_task(self._server.main_loop())  # updates the Date header

    async def stop(self, grace_s: float = 30) -> None:
        """Stops to accept requests; returns when all accepted requests are finished.

        Args:
            grace_s: seconds after which running requests are cancelled.
        """
        if self._server is None:
            return
        self.is_stopping = True
        for listener in self._sockets:
            _admit_no_more(listener)  # connections that the system already admitted are accepted below
        await asyncio.sleep(_LAST_REQUESTS_S)
        for listening in self._server.servers:
            listening.close()
        patience = asyncio.get_running_loop().time() + min(_FIRST_REQUEST_S, grace_s)
        while asyncio.get_running_loop().time() < patience:
            if not any(connection.is_new for connection in self._server.server_state.connections):
                break
            await asyncio.sleep(0.01)
        self._config.timeout_graceful_shutdown = max(grace_s, 0.001)
        self._ticks.cancel()
        await self._server.shutdown(self._sockets)
        tasks = list(self._server.server_state.tasks)
        if tasks:  # cancelled; each still sends a response
            await asyncio.wait(tasks, timeout=1)
        for connection in list(self._server.server_state.connections):
            connection.transport.abort()
        self._server = None


def _listen(hosts: Collection[tuple[int, str]], port: int, config: Any) -> list[socket.socket]:
    """Listens at all addresses of a name, like gRPC; addresses that this machine lacks are left out."""
    sockets: list[socket.socket] = []
    absent = None
    for family, host in sorted(hosts):
        try:
            listener = socket.create_server((host, port), family=family, backlog=config.backlog)
        except OSError as error:
            if error.errno not in (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT):
                for each in sockets:
                    each.close()
                raise
            absent = error
            continue
        listener.setblocking(False)
        port = listener.getsockname()[1]
        sockets.append(listener)
    if not sockets and absent is not None:
        raise absent
    return sockets


def _admit_no_more(listener: socket.socket) -> None:
    """Stops the system from admitting new connections; waiting ones can still be accepted.

    Closing a listener would reset connections that wait to be accepted and lose their requests. So we first attach a
    filter that drops every packet for the listener (the client retries and is then refused). On systems without
    filters we make the queue as short as possible.
    """
    listener.listen(0)
    if sys.platform != "linux":
        return
    with contextlib.suppress(OSError):
        drop = ctypes.create_string_buffer(struct.pack("HBBI", 0x06, 0, 0, 0), 8)  # "return 0 bytes of the packet"
        listener.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, struct.pack("HP", 1, ctypes.addressof(drop)))
