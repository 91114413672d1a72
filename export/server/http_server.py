"""An HTTP server around an ASGI application."""

import asyncio
import functools
import socket

import uvicorn

from export.server.http_protocol import HttpProtocol

_LAST_WORD_S = 0.1  # what clients sent before they could know of the stop is still taken


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
        await asyncio.sleep(_LAST_WORD_S)
        self._config.timeout_graceful_shutdown = max(grace_s, 0.001)
        self._ticks.cancel()
        await self._server.shutdown(self._sockets)
        tasks = list(self._server.server_state.tasks)
        if tasks:  # cancelled; each still answers
            await asyncio.wait(tasks, timeout=1)
        for connection in list(self._server.server_state.connections):
            connection.transport.abort()
        self._server = None
