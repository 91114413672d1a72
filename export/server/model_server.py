"""The server: the core with its two front ends."""

import asyncio
import logging
import re
from collections.abc import Callable

from export.errors import ExportError
from export.server.core import ServerCore
from export.server.grpc_frontend import GrpcFrontend
from export.server.http_server import HttpServer
from export.server.options import ServeOptions
from export.server.rest_app import create_rest_app
from export.server.security import read_credentials, read_token, warn_of_exposure
from export.server.serving_error import ServingError
from export.serving_protos import MonitoringConfig, read_text_proto

_log = logging.getLogger("export.server")
_PROMETHEUS_PATH = "/monitoring/prometheus/metrics"


class ModelServer:
    """Serves models according to `ServeOptions`. Create and use it on one event loop.

    Attributes:
        core: `ServerCore`.
        grpc_port: port of gRPC; None without gRPC.
        rest_port: port of REST, after `start`; None without REST.
    """

    def __init__(self, options: ServeOptions, report: Callable[[str], object] = print) -> None:
        """Binds the gRPC port.

        Args:
            options: `ServeOptions`.
            report: called with each line about ports and progress.

        Raises:
            ExportError: a configuration file is invalid, or a port is in use.
        """
        self.options = options
        self._report = report
        token = read_token(options.auth_token_file)
        credentials = read_credentials(options.ssl_config_file)
        warn_of_exposure(options, credentials, token)
        self.core = ServerCore(options)
        try:
            self._grpc = GrpcFrontend(
                self.core,
                options.bind_address,
                options.port,
                socket_path=options.grpc_socket_path,
                credentials=credentials,
                token=token,
                arguments=_channel_arguments(options.grpc_channel_arguments),
            )
        except RuntimeError as error:
            raise ExportError(_cannot_listen(options)) from error
        self.grpc_port: int | None = self._grpc.port
        self.rest_port: int | None = None
        self._http = None
        if options.rest_api_port:
            app = create_rest_app(
                self.core,
                timeout_ms=options.rest_api_timeout_in_ms,
                cors=options.rest_api_enable_cors_support,
                monitoring_path=_monitoring_path(options.monitoring_config_file),
                token=token,
                max_body_bytes=options.rest_api_max_body_bytes,
            )
            self._http = HttpServer(app, options.bind_address, max(options.rest_api_port, 0))
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        """Loads the models, then handles requests.

        Raises:
            ExportError: the configuration is rejected, or a port is in use.
        """
        try:
            await self.core.start()
        except ServingError as error:
            text = " ".join(error.message.split())  # names in it cannot add lines
            hint = f". {error.hint}" if error.hint else ""
            raise ExportError(f"Failed to start server. Error: {error.code.name}: {text}{hint}") from error
        await self._grpc.start()
        address = self.options.bind_address
        if self.grpc_port is not None:
            self._report(f"Running gRPC ModelServer at {address}:{self.grpc_port} ...")
        if self.options.grpc_socket_path:
            self._report(f"Running gRPC ModelServer at UNIX socket {self.options.grpc_socket_path} ...")
        if self._http is not None:
            try:
                await self._http.start()
            except OSError as error:
                raise ExportError(
                    f"Cannot listen at {address}:{self.options.rest_api_port} for REST: {error.strerror or error}. "
                    "Give another --rest_api_port, or -1 for a free one."
                ) from error
            self.rest_port = self._http.port
            shown = "localhost" if address in ("127.0.0.1", "::1") else address
            self._report(f"Exporting HTTP/REST API at:{shown}:{self.rest_port} ...")
        self._tasks.append(asyncio.create_task(self._report_availability()))
        seconds = self.options.model_config_file_poll_wait_seconds
        if self.options.model_config_file and seconds > 0:
            self._tasks.append(asyncio.create_task(self._poll_config(seconds)))

    async def stop(self) -> None:
        """Rejects new requests, finishes the accepted ones and unloads all models."""
        for task in self._tasks:
            task.cancel()
        grace = self.options.stop_grace_seconds
        stops = [self._grpc.stop(grace)]
        if self._http is not None:
            stops.append(self._http.stop(grace))
        await asyncio.gather(*stops)
        await self.core.close()

    async def _report_availability(self) -> None:
        await self.core.models.wait_until_available()
        self._report("All models are available.")

    async def _poll_config(self, seconds: float) -> None:
        while True:
            await asyncio.sleep(seconds)
            try:
                config = self.core.read_config()
                if config.WhichOneof("config") == "model_config_list":
                    await self.core.models.reload(config)
            except ExportError as error:
                _log.error("Failed to read the model config file: %s", error)
            except ServingError as error:
                _log.error("The model config file was rejected: %s. %s", error.message, error.hint)
            except Exception:
                _log.exception("Reading the model config file failed")


def _cannot_listen(options: ServeOptions) -> str:
    socket = f"; or the UNIX socket {options.grpc_socket_path} cannot be created" if options.grpc_socket_path else ""
    return (
        f"Cannot listen at {options.bind_address}:{options.port} for gRPC: the address is in use or does not belong "
        f"to this machine{socket}. Give another --port, or -1 for a free one."
    )


def _monitoring_path(path: str) -> str | None:
    if not path:
        return None
    config = read_text_proto(path, MonitoringConfig()).prometheus_config
    return (config.path or _PROMETHEUS_PATH) if config.enable else None


def _channel_arguments(text: str) -> list[tuple[str, str | int]]:
    arguments = []
    for each in filter(None, text.split(",")):
        key, separator, value = each.partition("=")
        if not separator:
            raise ExportError(f"--grpc_channel_arguments must be key=value, separated by commas; got {each!r}.")
        arguments.append((key, _channel_value(value)))
    return arguments


def _channel_value(text: str) -> str | int:
    """A number if it fits into 32 bits, else the text, like in TensorFlow Serving."""
    is_number = re.fullmatch("[+-]?[0-9]{1,20}", text) and -(2**31) <= int(text) < 2**31
    return int(text) if is_number else text
