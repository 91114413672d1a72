"""The client for asyncio."""

import asyncio

from export.client.calls import Calls, Send


class AsyncClient(Calls):
    """`Client` for asyncio: the same arguments, and the same calls, which are awaited.

    An asynchronous context manager. Its connections belong to the event loop of its first call.
    """

    def __init__(self, url, model="captioner", version=None, label=None, **options):
        super().__init__(url, model, version, label, **options)
        self._connection = None

    async def __aenter__(self):
        return self

    async def __aexit__(self, *error):
        await self.close()

    async def close(self):
        """Closes the connections."""
        if self._connection is not None:
            await self._connection.close()
            self._connection = None

    async def _run(self, steps):
        if self._connection is None:
            if self.address.is_grpc:
                from export.client.grpc_connection import AsyncGrpcConnection as Connection
            else:
                from export.client.http_connection import AsyncHttpConnection as Connection
            self._connection = Connection(self.address, self._headers, self._tls)
        try:
            step = next(steps)
            while True:
                if isinstance(step, Send):
                    step = steps.send(await self._connection.send(step.call, step.timeout))
                else:
                    step = steps.send(await asyncio.sleep(step.seconds))
        except StopIteration as stop:
            return stop.value
