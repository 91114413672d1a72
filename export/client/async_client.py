"""The client for asyncio."""

import asyncio
from typing import Any, Self

from export.client.calls import Calls, Send, Steps


class AsyncClient(Calls):
    """`Client` for asyncio: the same arguments and the same calls, which must be awaited.

    An asynchronous context manager. Its connections belong to the event loop of the first call.
    """

    def __init__(
        self, url: str, model: str = "captioner", version: int | None = None, label: str | None = None, **options: Any
    ) -> None:
        super().__init__(url, model, version, label, **options)
        self._connection: Any = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *error: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Closes the connections."""
        if self._connection is not None:
            await self._connection.close()
            self._connection = None

    async def _run(self, steps: Steps) -> Any:
        if self._connection is None and self.address.is_grpc:
            from export.client.grpc_connection import AsyncGrpcConnection

            self._connection = AsyncGrpcConnection(self.address, self._headers, self._tls, self._max_response_bytes)
        elif self._connection is None:
            from export.client.http_connection import AsyncHttpConnection

            self._connection = AsyncHttpConnection(self.address, self._headers, self._tls, self._max_response_bytes)
        try:
            step = next(steps)
            while True:
                if isinstance(step, Send):
                    step = steps.send(await self._connection.send(step.call, step.timeout))
                else:
                    await asyncio.sleep(step.seconds)
                    step = steps.send(None)
        except StopIteration as stop:
            return stop.value
