"""Reads the states of the versions of a model."""

import asyncio
import json
import time
from collections.abc import Mapping
from typing import Self

import grpc
from tensorflow_serving.apis import get_model_status_pb2

from benchmarks.serving_laws.clients import RestClient
from benchmarks.serving_laws.server import Server

_STATUS = "/tensorflow.serving.ModelService/GetModelStatus"


class States:
    """Calls GetModelStatus over gRPC and REST. An async context manager."""

    def __init__(self, server: Server, model: str = "half") -> None:
        self._server, self._model = server, model

    async def __aenter__(self) -> Self:
        self._channel = grpc.aio.insecure_channel(f"127.0.0.1:{self._server.grpc_port}")
        self._rest = RestClient(self._server)
        self._call = self._channel.unary_unary(
            _STATUS,
            request_serializer=get_model_status_pb2.GetModelStatusRequest.SerializeToString,
            response_deserializer=get_model_status_pb2.GetModelStatusResponse.FromString,
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._channel.close()
        await self._rest.close()

    async def grpc(self, version: int | None = None) -> dict[int, tuple[str, int, str]]:
        """Dict of version -> `(state, error code, error message)`."""
        request = get_model_status_pb2.GetModelStatusRequest()
        request.model_spec.name = self._model
        if version is not None:
            request.model_spec.version.value = version
        names = get_model_status_pb2.ModelVersionStatus.State.Name
        answer = await self._call(request, timeout=30)
        return {
            each.version: (names(each.state), each.status.error_code, each.status.error_message)
            for each in answer.model_version_status
        }

    async def rest(self, version: int) -> tuple[str, str, str]:
        """`(state, name of the error code, error message)` of a version."""
        _, body = await self._rest.request(b"GET", f"/v1/models/{self._model}/versions/{version}".encode())
        (entry,) = json.loads(body)["model_version_status"]
        return entry["state"], entry["status"]["error_code"], entry["status"]["error_message"]

    async def settle(self, version: int, timeout_s: float = 300) -> str:
        """Waits until a version is available or has failed; returns its state."""
        async with asyncio.timeout(timeout_s):
            while (state := (await self.grpc()).get(version, ("",))[0]) not in ("AVAILABLE", "END"):
                await asyncio.sleep(0.1)
        return state

    async def wait_for(self, wanted: Mapping[int, str], timeout_s: float = 300) -> None:
        """Waits until versions have the given states (dict of version -> state)."""
        until = time.monotonic() + timeout_s
        while True:
            found = {version: state for version, (state, _, _) in (await self.grpc()).items()}
            if wanted.items() <= found.items():
                return
            if time.monotonic() > until:
                raise TimeoutError(f"{found} never became {wanted}")
            await asyncio.sleep(0.1)
