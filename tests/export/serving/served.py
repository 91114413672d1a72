"""REST served over real sockets, and calls to it."""

import asyncio
import contextlib
import http.client
import json
import socket
import subprocess
import threading
import time

from calls import ORIGINAL

from export.server.core import ServerCore
from export.server.http_server import HttpServer
from export.server.local_server import LocalServer
from export.server.options import ServeOptions
from export.server.rest_app import create_rest_app


class Served:
    """REST alone, on an event loop of its own; a context manager that gives itself.

    Attributes:
        core: of the server.
        server: the `HttpServer`.
        address: `(host, port)`.
    """

    def __init__(self, source, new_event_loop=asyncio.new_event_loop, http=None, **rest):
        """`source`: a core, or the `ServeOptions` of one; `http`, `rest`: of `HttpServer` and `create_rest_app`."""
        self._source, self._http, self._rest = source, http or {}, rest
        self._loop = new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)

    def __enter__(self):
        self._thread.start()
        self.do(self._start())
        return self

    def __exit__(self, *error):
        self.do(self._stop())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    async def _start(self):
        self.core = self._source
        if isinstance(self._source, ServeOptions):
            self.core = ServerCore(self._source)
            await self.core.start()
        self.server = HttpServer(create_rest_app(self.core, **self._rest), **self._http)
        await self.server.start()

    async def _stop(self):
        await self.server.stop(5)
        if self.core is not self._source:
            await self.core.close()

    @property
    def address(self):
        return "127.0.0.1", self.server.port

    def do(self, coroutine):
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(60)


@contextlib.contextmanager
def serving_rest(kind, **flags):
    """Gives `(host, port)` of the REST API: `local` is ours, on a thread; `original` is `tensorflow_model_server`."""
    if kind == "local":
        with LocalServer(**flags) as server:
            yield "127.0.0.1", server.rest_port
        return
    ports = []
    for _ in range(2):
        with socket.socket() as probe:
            probe.bind(("localhost", 0))
            ports.append(probe.getsockname()[1])
    flags.update(port=ports[0], rest_api_port=ports[1])
    arguments = [f"--{name}={str(value).lower() if value in (True, False) else value}" for name, value in flags.items()]
    process = subprocess.Popen([ORIGINAL, *arguments])
    try:
        until = time.monotonic() + 60
        while time.monotonic() < until:
            with contextlib.suppress(OSError):
                call(("localhost", ports[1]), "GET", "/")
                break
            time.sleep(0.2)
        yield "localhost", ports[1]
    finally:
        process.terminate()
        process.wait()


def call(address, method, path, body=None, headers=None, timeout=60):
    """`(status, headers with lower-case names, body)` of one request; a body that is no bytes is sent as JSON."""
    connection = http.client.HTTPConnection(*address, timeout=timeout)
    try:
        if body is not None and not isinstance(body, (bytes, str)):
            body = json.dumps(body)
        connection.request(method, path, body, headers or {})
        response = connection.getresponse()
        return response.status, {name.lower(): value for name, value in response.getheaders()}, response.read()
    finally:
        connection.close()
