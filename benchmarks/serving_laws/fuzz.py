"""Invalid requests: each must get a fast, helpful error without details of the machine."""

import asyncio
import base64
import gzip
import json
import re
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import grpc
import tensorflow as tf
from tensorflow_serving.apis import (
    classification_pb2,
    get_model_metadata_pb2,
    get_model_status_pb2,
    inference_pb2,
    predict_pb2,
)

from benchmarks.serving_laws.bombs import bombs
from benchmarks.serving_laws.clients import PREDICT, GrpcClient, RestClient
from benchmarks.serving_laws.finding import Finding, nothing
from benchmarks.serving_laws.models import predict_request, prepare
from benchmarks.serving_laws.mutator import Mutator
from benchmarks.serving_laws.server import ROOT, Server
from vl_keras.data.modalities.golden_images import golden_images

_MOST_S = 5
_MOST_GROWTH_MB = 100
_AT_ONCE = 8
_SERVICE = "/tensorflow.serving.PredictionService/"
_ROWS = 4  # images per request; one of them is intact


def fuzz(
    folder: Path, count: int = 20_000, captioner: Path | None = None, seed: int = 0, original: bool = False
) -> list[Finding]:
    """Sends mutated REST requests (half of them), gRPC messages (a quarter) and images (a quarter), then size bombs.

    Args:
        folder: empty folder for the models.
        count: number of mutated requests and images.
        captioner: folder with the versions of an exported captioner, for the images; None: no images.
        seed: for the mutations.
        original: start `tensorflow_model_server`.

    Returns:
        List of `Finding`.
    """
    with Server(original, **prepare(folder, captioner)) as server:
        secrets = [
            str(folder),
            str(ROOT),
            "site-packages",
            "<class",
            *([str(captioner.resolve())] if captioner else []),
        ]
        findings = asyncio.run(_Fuzz(server, secrets, Mutator(seed)).run(count, captioner))
        findings += bombs(server, "captioner" if captioner else None)
        alive = server.is_alive() and _answers(server)
        tracebacks = re.findall(r"Traceback.*?\n(?=\S)(?:.*)", server.log(), re.S)
        return [
            *findings,
            Finding("alive and correct at the end", str(alive), alive, "True"),
            nothing("tracebacks in the server's log", [each[-300:] for each in tracebacks]),
        ]


class _Fuzz:
    def __init__(self, server: Server, secrets: Sequence[str], mutator: Mutator) -> None:
        self._server, self._secrets, self._mutator = server, secrets, mutator
        self._slow, self._bare, self._leaks, self._dropped, self._neighbours = [], [], [], [], []
        self._codes, self._slowest = {}, 0.0
        self._memory = []

    async def run(self, count: int, captioner: Path | None) -> list[Finding]:
        rest, messages = count // 2, count // 4 if captioner else count - count // 2
        await self._in_turn(
            iter(self._rest_requests(min(rest, 200))), self._send_rest
        )  # warm-up: everything that happens only once
        await self._in_turn(iter(self._messages(min(messages, 200))), self._send_grpc)
        if captioner:
            await self._in_turn(iter(self._images(4 * (_ROWS - 1))), self._send_images)
        start = self._server.megabytes()
        self._memory = [start]
        started = time.perf_counter()
        watching = asyncio.create_task(self._watch())
        await self._in_turn(iter(self._rest_requests(rest)), self._send_rest)
        await self._in_turn(iter(self._messages(messages)), self._send_grpc)
        images = count - rest - messages
        await self._in_turn(iter(self._images(images)), self._send_images)
        watching.cancel()
        most, end = max(self._memory) - start, self._server.megabytes() - start
        codes = " ".join(f"{code}:{number}" for code, number in sorted(self._codes.items(), key=lambda each: -each[1]))
        return [
            Finding("mutated", f"{rest} REST, {messages} gRPC, {images} images"),
            Finding("took", f"{time.perf_counter() - started:.0f} s, slowest {self._slowest:.2f} s"),
            Finding("responses", codes),
            nothing(f"over {_MOST_S} s", self._slow),
            nothing("dropped without a response", self._dropped),
            nothing("errors without a body", self._bare),
            nothing("traceback or path in a response", self._leaks),
            *([nothing("intact image failed", self._neighbours)] if captioner else []),
            Finding("memory, start / most / end, MB", f"{start:.0f} / {most:+.0f} / {end:+.0f}"),
            Finding(
                "memory, most above start", f"{most:.0f}", most <= _MOST_GROWTH_MB, f"at most {_MOST_GROWTH_MB} MB"
            ),
        ]

    async def _in_turn(self, work: Iterator[Any], send: Callable[..., Any]) -> None:
        """Processes the items with a few parallel clients."""

        async def client() -> None:
            connection = (RestClient if send == self._send_rest else GrpcClient)(self._server, "half")
            for each in work:
                started = time.perf_counter()
                try:
                    async with asyncio.timeout(4 * _MOST_S):
                        await send(connection, each)
                except TimeoutError:
                    await connection.close()
                    connection = type(connection)(self._server, "half")
                seconds = time.perf_counter() - started
                self._slowest = max(self._slowest, seconds)
                if seconds > _MOST_S:
                    self._slow.append(f"{seconds:.1f} s: {each!r}"[:300])
            await connection.close()

        await asyncio.gather(*(client() for _ in range(_AT_ONCE)))

    async def _watch(self) -> None:
        while True:
            self._memory.append(self._server.megabytes())
            await asyncio.sleep(0.2)

    def _record(self, code: str, text: str, is_error: bool) -> None:
        self._codes[code] = self._codes.get(code, 0) + 1
        if is_error and ("Traceback" in text or 'File "' in text or any(each in text for each in self._secrets)):
            self._leaks.append(f"{code}: {text[:300]}")

    def _rest_requests(self, count: int) -> Iterator[tuple[bytes, bool]]:
        """`(bytes of an HTTP request, whether it may close the connection)`."""
        bodies = _bodies()
        for number in range(count):
            verb, body = self._mutator.random.choice(bodies)
            path, headers, is_loose = b"/v1/models/half:" + verb, b"", False
            body = self._mutator.bytes(body, [each for _, each in bodies])
            if number % 10 == 0:
                body = gzip.compress(body, 1)
                body = self._mutator.bytes(body) if number % 20 == 0 else body
                headers = b"Content-Encoding: gzip\r\n"
            elif number % 10 == 1:
                path = self._mutator.bytes(path).translate(None, b"\r\n \0#") or b"/"
                is_loose = True  # may be invalid HTTP
            data = b"POST %s HTTP/1.1\r\nHost: a\r\n%sContent-Length: %d\r\n\r\n%s" % (path, headers, len(body), body)
            if number % 20 == 2:
                data, is_loose = self._mutator.bytes(data), True
            yield data, is_loose

    async def _send_rest(self, connection: RestClient, request: tuple[bytes, bool]) -> None:
        data, is_loose = request
        try:
            status, body = await connection.send(data, last=is_loose)
        except (OSError, EOFError, asyncio.LimitOverrunError) as error:
            await connection.close()
            if not is_loose:
                self._dropped.append(f"{error!r} after {data!r}"[:300])
            return
        if status is None:
            return
        text = body.decode("utf-8", "replace")
        self._record(f"{status}", text, status >= 400)
        if status >= 400 and not (status == 404 and text.startswith("<HTML>")):
            try:
                good = isinstance(json.loads(text, strict=False)["error"], str)
            except (ValueError, KeyError, TypeError):
                good = status == 400 and b"/versions/" in data  # a version that exceeds 64 bits gets an empty body
            if not good:
                self._bare.append(f"{status}: {text[:200]!r} after {data!r}"[:400])

    def _messages(self, count: int) -> Iterator[tuple[str, bytes]]:
        """`(method, bytes)`."""
        seeds = _messages()
        for number in range(count):
            method, message = self._mutator.random.choice(seeds)
            if method == PREDICT and number % 4:
                data = self._mutator.predict(message).SerializeToString()
            else:
                data = message.SerializeToString()
            if number % 2 == 0 or method != PREDICT:
                data = self._mutator.bytes(data, [each.SerializeToString() for _, each in seeds])
            yield method, data

    async def _send_grpc(self, client: GrpcClient, request: tuple[str, bytes]) -> None:
        method, data = request
        try:
            await client.channel.unary_unary(method)(data, timeout=4 * _MOST_S)
            self._record("OK", "", False)
        except grpc.aio.AioRpcError as error:
            if error.code() == grpc.StatusCode.UNAVAILABLE:
                self._dropped.append(f"{error.details()} after {data!r}"[:300])
            self._record(error.code().name, error.details() or "", True)

    def _images(self, count: int) -> Iterator[list[bytes]]:
        """Lists of images; the last one is intact."""
        seeds = list(golden_images().values())
        whole = golden_images()["small.bmp"]
        for start in range(0, count, _ROWS - 1):
            broken = (self._mutator.random.choice(seeds) for _ in range(min(_ROWS - 1, count - start)))
            yield [*(self._mutator.bytes(each, seeds) for each in broken), whole]

    async def _send_images(self, client: GrpcClient, images: list[bytes]) -> None:
        request = predict_request("captioner", "embed_image", image_bytes=images)
        try:
            call = client.channel.unary_unary(PREDICT, response_deserializer=predict_pb2.PredictResponse.FromString)
            answer = await call(request.SerializeToString(), timeout=4 * _MOST_S)
        except grpc.aio.AioRpcError as error:
            self._record(error.code().name, error.details() or "", True)
            self._neighbours.append(f"{error.code().name}: {error.details()}")
            return
        statuses = [each.decode() for each in answer.outputs["status"].string_val]
        for each in statuses[:-1]:
            self._record(each.partition(":")[0], each, True)
        if len(statuses) != len(images) or statuses[-1] != "ok":
            self._neighbours.append(statuses)


def _answers(server: Server) -> bool:
    async def ask() -> bool:
        for kind in (GrpcClient, RestClient):
            client = kind(server)
            answer = await client.predict(10)
            await client.close()
            if answer.value != 1005:
                return False
        return True

    return asyncio.run(ask())


def _bodies() -> list[tuple[bytes, bytes]]:
    """`(verb, JSON)` of valid requests."""
    text = base64.b64encode(b"one").decode()
    predictions = [
        {"instances": [1.0, 2, 3]},
        {"instances": [{"x": 1.5}, {"x": -2}]},
        {"inputs": {"x": [1, 2]}},
        {"inputs": [1, 2], "signature_name": "serving_default"},
        {"signature_name": "look_up", "instances": [{"text": {"b64": text}}, {"text": "two ä \u2028"}]},
        {"signature_name": "echo_string", "inputs": [["a", {"b64": text}], ["", "\\u0041"]]},
        *({"signature_name": f"echo_{kind}", "instances": [[1, 0], [0, 1]]} for kind in ("int32", "int64", "uint8")),
        {"signature_name": "echo_float64", "inputs": [[[1e300]], [[-0.0]]]},
        {"signature_name": "echo_bool", "instances": [True, False]},
    ]
    examples = [{"examples": [{"x": 1.5}, {"x": [2.5]}], "context": {"y": "a"}}, {"examples": [{"x": {"b64": text}}]}]
    return [
        *((b"predict", json.dumps(each).encode()) for each in predictions),
        *((b"classify", json.dumps({**each, "signature_name": "classify"}).encode()) for each in examples),
        *((b"regress", json.dumps({**each, "signature_name": "regress"}).encode()) for each in examples),
    ]


def _messages() -> list[tuple[str, Any]]:
    """`(method, message)` of valid requests."""
    number = tf.make_tensor_proto([[1, 0], [2, 3]], tf.float32)
    requests = [
        predict_request("half", x=[1.0, 2.0]),
        predict_request("half", "look_up", text=[b"one", b"four"]),
        predict_request("half", "echo_float32", x=number),
        predict_request("half", "echo_string", x=[b"a", b"b"]),
        predict_request("half", "echo_int64", x=[1, 2]),
        predict_request("half", "echo_bool", x=tf.make_tensor_proto([True, False])),
    ]
    classify = classification_pb2.ClassificationRequest()
    classify.model_spec.name, classify.model_spec.signature_name = "half", "classify"
    classify.input.example_list.examples.add().features.feature["x"].float_list.value.append(1.5)
    multi = inference_pb2.MultiInferenceRequest(input=classify.input)
    task = multi.tasks.add(method_name="tensorflow/serving/classify")
    task.model_spec.CopyFrom(classify.model_spec)
    metadata = get_model_metadata_pb2.GetModelMetadataRequest(metadata_field=["signature_def"])
    status = get_model_status_pb2.GetModelStatusRequest()
    metadata.model_spec.name = status.model_spec.name = "half"
    return [
        *((PREDICT, request) for request in requests),
        (f"{_SERVICE}Classify", classify),
        (f"{_SERVICE}MultiInference", multi),
        (f"{_SERVICE}GetModelMetadata", metadata),
        ("/tensorflow.serving.ModelService/GetModelStatus", status),
    ]
