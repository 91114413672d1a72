"""The synchronous client."""

import time
from typing import Any, Self

from export.client.calls import Calls, Send, Steps


class Client(Calls):
    """Calls a served model. A context manager.

    Arguments and calls are documented at `Calls`. Connections stay open between calls; threads may share a client.
    """

    def __init__(
        self, url: str, model: str = "captioner", version: int | None = None, label: str | None = None, **options: Any
    ) -> None:
        super().__init__(url, model, version, label, **options)
        if self.address.is_grpc:
            from export.client.grpc_connection import GrpcConnection

            self._connection: Any = GrpcConnection(self.address, self._headers, self._tls, self._max_response_bytes)
        else:
            from export.client.http_connection import HttpConnection

            self._connection = HttpConnection(self.address, self._headers, self._tls, self._max_response_bytes)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """Closes the connections; a call after this fails."""
        self._connection.close()

    def _run(self, steps: Steps) -> Any:
        try:
            step = next(steps)
            while True:
                if isinstance(step, Send):
                    step = steps.send(self._connection.send(step.call, step.timeout))
                else:
                    time.sleep(step.seconds)
                    step = steps.send(None)
        except StopIteration as stop:
            return stop.value
