"""An HTTP server around an ASGI application."""

import asyncio
import contextlib
import ctypes
import functools
import socket
import struct
import sys

import uvicorn

from export.server.http_protocol import HttpProtocol

_LAST_WORD_S = 0.1  # what clients sent before they could know of the stop is still taken
_SO_ATTACH_FILTER = 26  # of Linux
_FIRST_WORD_S = 1  # who has connected and said nothing yet is waited for so long


class HttpServer:
    """Serves an ASGI application on the running event loop, with uvicorn and httptools.

    Args:
        app: ASGI application.
        host: address to bind.
        port: 0 picks a free one.
        max_header_bytes: of a request's first line and headers together.
        read_timeout_s: for a request's headers; its body may take as much longer as it has KiB.
        keep_alive_s: how long an idle connection stays open.

    Attributes:
        port: in use, after `start`.
        is_stopping: whether `stop` was called.
    """

    def __init__(self, app, host="127.0.0.1", port=0, *, max_header_bytes=65536, read_timeout_s=30, keep_alive_s=75):
        self.port = port
        self.max_header_bytes = max_header_bytes
        self.read_timeout_s = read_timeout_s
        self.is_stopping = False
        self._host = host
        self._config = uvicorn.Config(
            app,
            http=functools.partial(HttpProtocol, self),
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            timeout_keep_alive=keep_alive_s,
        )
        self._server = None
        self._sockets = []
        self._ticks = None

    async def start(self):
        """Binds the port and accepts connections.

        Raises:
            OSError: the address cannot be bound.
        """
        loop = asyncio.get_running_loop()
        addresses = await loop.getaddrinfo(self._host, self.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        family, _, _, _, address = addresses[0]
        self._sockets = [socket.create_server(address[:2], family=family, backlog=self._config.backlog)]
        self._sockets[0].setblocking(False)
        self.port = self._sockets[0].getsockname()[1]
        self._config.load()
        self._server = uvicorn.Server(self._config)
        self._server.lifespan = self._config.lifespan_class(self._config)
        await self._server.startup(self._sockets)
        self._ticks = asyncio.create_task(self._server.main_loop())  # keeps the Date header right

    async def stop(self, grace_s=30):
        """Takes no more requests, and returns when all that were accepted are answered.

        Args:
            grace_s: after which requests still running are cancelled.
        """
        if self._server is None:
            return
        self.is_stopping = True
        for listener in self._sockets:
            _admit_no_more(listener)  # those that the system has admitted are accepted below
        await asyncio.sleep(_LAST_WORD_S)
        for listening in self._server.servers:
            listening.close()
        patience = asyncio.get_running_loop().time() + min(_FIRST_WORD_S, grace_s)
        while asyncio.get_running_loop().time() < patience:
            if not any(connection.is_new for connection in self._server.server_state.connections):
                break
            await asyncio.sleep(0.01)
        self._config.timeout_graceful_shutdown = max(grace_s, 0.001)
        self._ticks.cancel()
        await self._server.shutdown(self._sockets)
        tasks = list(self._server.server_state.tasks)
        if tasks:  # cancelled; each still answers
            await asyncio.wait(tasks, timeout=1)
        for connection in list(self._server.server_state.connections):
            connection.transport.abort()
        self._server = None


def _admit_no_more(listener):
    """Lets the system admit no new connection, while those waiting can still be accepted.

    Closing a listener resets connections that it was about to give, and their requests are lost. So first a filter
    lets it drop every packet that comes for it (the client tries again, and is refused); where the system knows no
    filters, its queue is made as short as can be.
    """
    listener.listen(0)
    if sys.platform != "linux":
        return
    with contextlib.suppress(OSError):
        drop = ctypes.create_string_buffer(struct.pack("HBBI", 0x06, 0, 0, 0), 8)  # "return 0 bytes of the packet"
        listener.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, struct.pack("HP", 1, ctypes.addressof(drop)))
