"""The client for threads."""

import time

from export.client.calls import Calls, Send


class Client(Calls):
    """Calls a served model; a context manager.

    Arguments and calls are those of `Calls`. Connections stay open between calls, and threads may share a client.
    """

    def __init__(self, url, model="captioner", version=None, label=None, **options):
        super().__init__(url, model, version, label, **options)
        if self.address.is_grpc:
            from export.client.grpc_connection import GrpcConnection as Connection
        else:
            from export.client.http_connection import HttpConnection as Connection
        self._connection = Connection(self.address, self._headers, self._tls)

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.close()

    def close(self):
        """Closes the connections; a call after this fails."""
        self._connection.close()

    def _run(self, steps):
        try:
            step = next(steps)
            while True:
                if isinstance(step, Send):
                    step = steps.send(self._connection.send(step.call, step.timeout))
                else:
                    step = steps.send(time.sleep(step.seconds))
        except StopIteration as stop:
            return stop.value
