"""A server on a thread of this process, for tests, demos and notebooks."""

import asyncio
import threading

from export.server.options import ServeOptions


class LocalServer:
    """Serves in this process, on free ports; a context manager.

    Attributes:
        grpc_port: port of gRPC; None where there is none.
        rest_port: port of REST; the same.
        core: its `ServerCore`; it belongs to the thread of the server.
    """

    def __init__(self, model_base_path="", **options):
        """Returns when the models that are there are loaded.

        Args:
            model_base_path: folder of one model; empty with `model_config_file`.
            options: of `ServeOptions`; ports are free ones unless given.

        Raises:
            ExportError: the server could not start.
        """
        settings = {"port": -1, "rest_api_port": -1, **options}
        self._options = ServeOptions(model_base_path=str(model_base_path), **settings)
        self._ready = threading.Event()
        self._error = None
        self._loop = None
        self._stopping = None
        self.lines = []
        self._thread = threading.Thread(target=self._run, name="local-server", daemon=True)
        self._thread.start()
        self._ready.wait()
        if self._error is not None:
            self._thread.join()
            raise self._error

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        """Answers what was accepted, unloads, and ends the thread."""
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._stopping.set)
            self._thread.join()

    def _run(self):
        try:
            asyncio.run(self._serve())
        except BaseException as error:
            self._error = error
        finally:
            self._ready.set()

    async def _serve(self):
        from export.server.model_server import ModelServer

        self._loop, self._stopping = asyncio.get_running_loop(), asyncio.Event()
        server = ModelServer(self._options, self.lines.append)
        try:
            await server.start()
            self.core, self.grpc_port, self.rest_port = server.core, server.grpc_port, server.rest_port
            self._ready.set()
            await self._stopping.wait()
        finally:
            await server.stop()
