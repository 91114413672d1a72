"""Asynchronous clients, each with its own connection."""

import asyncio
import json
import random
import re
import time
from typing import Any, NamedTuple, Self

import grpc
from tensorflow_serving.apis import predict_pb2

from benchmarks.serving_laws.models import predict_request, version_of
from benchmarks.serving_laws.server import Server

PREDICT = "/tensorflow.serving.PredictionService/Predict"
_CODES = {200: "OK", 503: "UNAVAILABLE", 504: "DEADLINE_EXCEEDED"}


class Answer(NamedTuple):
    """The response to one request.

    Attributes:
        code: name of the status code; over REST `OK`, `UNAVAILABLE`, `DEADLINE_EXCEEDED`, else the number.
        value: the first number of the output, if any.
        version: version that handled the request; only known over gRPC.
        text: error message.
    """

    code: str
    value: float | None = None
    version: int | None = None
    text: str = ""


class GrpcClient:
    """A gRPC client."""

    def __init__(self, server: Server, model: str = "half") -> None:
        # A local pool; otherwise all channels of a process share one connection.
        options = [("grpc.use_local_subchannel_pool", 1), ("grpc.max_receive_message_length", -1)]
        self._model = model
        self.channel = grpc.aio.insecure_channel(f"127.0.0.1:{server.grpc_port}", options=options)
        self._predict = self.channel.unary_unary(
            PREDICT,
            request_serializer=predict_pb2.PredictRequest.SerializeToString,
            response_deserializer=predict_pb2.PredictResponse.FromString,
        )

    async def predict(self, x: float, signature: str = "", timeout: float = 60, **more: Any) -> Answer:
        """Sends one row; returns `Answer`."""
        request = predict_request(self._model, signature, x=[float(x)], **{name: [v] for name, v in more.items()})
        try:
            response = await self._predict(request, timeout=timeout)
        except grpc.aio.AioRpcError as error:
            return Answer(error.code().name, text=error.details() or "")
        return Answer("OK", response.outputs["y"].float_val[0], response.model_spec.version.value)

    async def close(self) -> None:
        """Closes the connection."""
        await self.channel.close()


class RestClient:
    """A REST client with one open connection."""

    def __init__(self, server: Server, model: str = "half") -> None:
        self._port, self._path = server.rest_port, f"/v1/models/{model}:predict".encode()
        self._reader = self._writer = None

    async def predict(self, x: float, signature: str = "", timeout: float = 60, **more: Any) -> Answer:
        """Sends one row; returns `Answer`."""
        body = {"instances": [{"x": x, **more}], **({"signature_name": signature} if signature else {})}
        try:
            async with asyncio.timeout(timeout):
                status, answer = await self.request(b"POST", self._path, json.dumps(body).encode())
        except TimeoutError:
            await self.close()
            return Answer("DEADLINE_EXCEEDED", text="the client timed out")
        except (OSError, EOFError) as error:
            await self.close()
            return Answer("UNREACHABLE", text=repr(error))
        if status != 200:
            return Answer(_CODES.get(status, str(status)), text=answer.decode("utf-8", "replace"))
        return Answer("OK", json.loads(answer)["predictions"][0])

    async def request(
        self, method: bytes, path: bytes, body: bytes = b"", headers: bytes = b""
    ) -> tuple[int | None, bytes]:
        """Sends any request; returns `(status, body)`. `headers` are complete lines."""
        head = b"%s %s HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n%s\r\n"
        return await self.send(head % (method, path, len(body), headers) + body)

    async def send(self, data: bytes, last: bool = False) -> tuple[int | None, bytes]:
        """Sends raw bytes, which may be invalid HTTP; `last` closes the connection afterwards.

        Returns:
            `(status, body)`; `(None, b"")` if the server closed the connection without a response.
        """
        if self._writer is None:
            self._reader, self._writer = await asyncio.open_connection("127.0.0.1", self._port, limit=2**20)
        self._writer.write(data)
        if last:
            self._writer.write_eof()
        try:
            head = await self._reader.readuntil(b"\r\n\r\n")
        except asyncio.IncompleteReadError as error:
            await self.close()
            if last and not error.partial:
                return None, b""
            raise
        length = re.search(rb"content-length: (\d+)", head, re.I)
        body = await self._reader.readexactly(int(length[1])) if length else b""
        if last or b"connection: close" in head.lower():
            await self.close()
        return int(head.split(None, 2)[1]), body

    async def close(self) -> None:
        """Closes the connection."""
        if self._writer is not None:
            self._writer.close()
        self._reader = self._writer = None


def make_clients(server: Server, count: int, model: str = "half") -> list[Any]:
    """`count` clients, alternating gRPC and REST."""
    return [(GrpcClient, RestClient)[number % 2](server, model) for number in range(count)]


class Load:
    """Clients that send requests without pause and check every response. An async context manager.

    Attributes:
        failed: responses other than OK.
        wrong: responses with a value that does not match the version, or any version.
        back: responses from an older version than an earlier response to the same client.
        answered: `(start, seconds)` of each request; start is a `time.perf_counter` value.
    """

    def __init__(self, server: Server, count: int, seed: int = 0) -> None:
        self._server, self._count, self._random = server, count, random.Random(seed)
        self.failed, self.wrong, self.back, self.answered = [], [], [], []

    async def __aenter__(self) -> Self:
        self._clients = make_clients(self._server, self._count)
        self._running = True
        self._tasks = [asyncio.create_task(self._ask(client)) for client in self._clients]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._running = False
        await asyncio.gather(*self._tasks)
        for client in self._clients:
            await client.close()

    def times(self, start: float, end: float) -> list[float]:
        """Latencies of the requests that started in an interval."""
        return [seconds for when, seconds in self.answered if start <= when < end]

    async def _ask(self, client: Any) -> None:
        last, kind = 0, type(client).__name__
        while self._running:
            x = self._random.randrange(1000)
            started = time.perf_counter()
            answer = await client.predict(x)
            self.answered.append((started, time.perf_counter() - started))
            if answer.code != "OK":
                self.failed.append(f"{kind}: {answer.code} {answer.text}")
                await asyncio.sleep(0.05)
                continue
            version = version_of(x, answer.value)
            if version is None or answer.version not in (None, version):
                self.wrong.append(f"{kind}: {answer.value} for {x}, version {answer.version}")
            elif version < last:
                self.back.append(f"{kind}: {version} after {last}")
            last = version or last
