"""A server on a thread of this process, for tests, demos and notebooks."""

import asyncio
import threading
from pathlib import Path
from typing import Any, Self

from export.server.options import ServeOptions


class LocalServer:
    """Serves in this process on free ports. A context manager.

    Attributes:
        grpc_port: port of gRPC; None without gRPC.
        rest_port: port of REST; None without REST.
        core: the `ServerCore`, which belongs to the thread of the server.
        lines: lines that the server printed.
    """

    def __init__(self, model_base_path: str | Path = "", **options: Any) -> None:
        """Starts the server; returns when the models are loaded.

        Args:
            model_base_path: folder of one model; empty with `model_config_file`.
            options: fields of `ServeOptions`; the ports are free ones by default.

        Raises:
            ExportError: the server cannot start.
        """
        settings = {"port": -1, "rest_api_port": -1, **options}
        self._options = ServeOptions(model_base_path=str(model_base_path), **settings)
        self._ready = threading.Event()
        self._error: BaseException | None = None
        self._loop: Any = None
        self._stopping: Any = None
        self.lines: list[str] = []
        self._thread = threading.Thread(target=self._run, name="local-server", daemon=True)
        self._thread.start()
        self._ready.wait()
        if self._error is not None:
            self._thread.join()
            raise self._error

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Finishes the accepted requests, unloads the models and ends the thread."""
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._stopping.set)
            self._thread.join()

    def _run(self) -> None:
        try:
            asyncio.run(self._serve())
        except BaseException as error:
            self._error = error
        finally:
            self._ready.set()

    async def _serve(self) -> None:
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
