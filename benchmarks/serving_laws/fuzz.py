"""Broken requests: each is answered soon, with an error that helps and tells nothing of the machine."""

import asyncio
import base64
import gzip
import json
import re
import time

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
from export.golden import golden_images

_MOST_S = 5
_MOST_GROWTH_MB = 100
_AT_ONCE = 8
_SERVICE = "/tensorflow.serving.PredictionService/"
_ROWS = 4  # images of a request; one of them is whole


def fuzz(folder, count=20_000, captioner=None, seed=0, original=False):
    """Sends mutated REST requests (half of them), gRPC messages (a quarter) and images (a quarter), then size bombs.

    Args:
        folder: empty, for the models.
        count: of mutated requests and images.
        captioner: folder of an exported captioner's versions, which reads the images; None: no images.
        seed: of the mutations.
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
            Finding("alive and right at the end", str(alive), alive, "True"),
            nothing("tracebacks in the server's log", [each[-300:] for each in tracebacks]),
        ]


class _Fuzz:
    def __init__(self, server, secrets, mutator):
        self._server, self._secrets, self._mutator = server, secrets, mutator
        self._slow, self._bare, self._telling, self._dropped, self._neighbours = [], [], [], [], []
        self._codes, self._slowest = {}, 0.0
        self._memory = []

    async def run(self, count, captioner):
        rest, messages = count // 2, count // 4 if captioner else count - count // 2
        await self._in_turn(iter(self._rest_requests(min(rest, 200))), self._ask_rest)  # all that happens once
        await self._in_turn(iter(self._messages(min(messages, 200))), self._ask_grpc)
        if captioner:
            await self._in_turn(iter(self._images(4 * (_ROWS - 1))), self._ask_about)
        start = self._server.megabytes()
        self._memory = [start]
        started = time.perf_counter()
        watching = asyncio.create_task(self._watch())
        await self._in_turn(iter(self._rest_requests(rest)), self._ask_rest)
        await self._in_turn(iter(self._messages(messages)), self._ask_grpc)
        images = count - rest - messages
        await self._in_turn(iter(self._images(images)), self._ask_about)
        watching.cancel()
        most, end = max(self._memory) - start, self._server.megabytes() - start
        codes = " ".join(f"{code}:{number}" for code, number in sorted(self._codes.items(), key=lambda each: -each[1]))
        return [
            Finding("mutated", f"{rest} REST, {messages} gRPC, {images} images"),
            Finding("took", f"{time.perf_counter() - started:.0f} s, slowest {self._slowest:.2f} s"),
            Finding("answers", codes),
            nothing(f"over {_MOST_S} s", self._slow),
            nothing("dropped without an answer", self._dropped),
            nothing("errors without a body", self._bare),
            nothing("traceback or path in an answer", self._telling),
            *([nothing("harmed by a neighbour", self._neighbours)] if captioner else []),
            Finding("memory, start / most / end, MB", f"{start:.0f} / {most:+.0f} / {end:+.0f}"),
            Finding(
                "memory, most above start", f"{most:.0f}", most <= _MOST_GROWTH_MB, f"at most {_MOST_GROWTH_MB} MB"
            ),
        ]

    async def _in_turn(self, work, ask):
        """Lets a few clients share the work."""

        async def client():
            connection = (RestClient if ask == self._ask_rest else GrpcClient)(self._server, "half")
            for each in work:
                started = time.perf_counter()
                try:
                    async with asyncio.timeout(4 * _MOST_S):
                        await ask(connection, each)
                except TimeoutError:
                    await connection.close()
                    connection = type(connection)(self._server, "half")
                seconds = time.perf_counter() - started
                self._slowest = max(self._slowest, seconds)
                if seconds > _MOST_S:
                    self._slow.append(f"{seconds:.1f} s: {each!r}"[:300])
            await connection.close()

        await asyncio.gather(*(client() for _ in range(_AT_ONCE)))

    async def _watch(self):
        while True:
            self._memory.append(self._server.megabytes())
            await asyncio.sleep(0.2)

    def _judge(self, code, text, is_error):
        self._codes[code] = self._codes.get(code, 0) + 1
        if is_error and ("Traceback" in text or 'File "' in text or any(each in text for each in self._secrets)):
            self._telling.append(f"{code}: {text[:300]}")

    def _rest_requests(self, count):
        """`(bytes of an HTTP request, whether it may end the connection)`."""
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
                is_loose = True  # may be no HTTP any more
            data = b"POST %s HTTP/1.1\r\nHost: a\r\n%sContent-Length: %d\r\n\r\n%s" % (path, headers, len(body), body)
            if number % 20 == 2:
                data, is_loose = self._mutator.bytes(data), True
            yield data, is_loose

    async def _ask_rest(self, connection, request):
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
        self._judge(f"{status}", text, status >= 400)
        if status >= 400 and not (status == 404 and text.startswith("<HTML>")):
            try:
                good = isinstance(json.loads(text, strict=False)["error"], str)
            except (ValueError, KeyError, TypeError):
                good = status == 400 and b"/versions/" in data  # a version beyond 64 bits has no body
            if not good:
                self._bare.append(f"{status}: {text[:200]!r} after {data!r}"[:400])

    def _messages(self, count):
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

    async def _ask_grpc(self, client, request):
        method, data = request
        try:
            await client.channel.unary_unary(method)(data, timeout=4 * _MOST_S)
            self._judge("OK", "", False)
        except grpc.aio.AioRpcError as error:
            if error.code() == grpc.StatusCode.UNAVAILABLE:
                self._dropped.append(f"{error.details()} after {data!r}"[:300])
            self._judge(error.code().name, error.details() or "", True)

    def _images(self, count):
        """Lists of images, the last of which is whole."""
        seeds = list(golden_images().values())
        whole = golden_images()["small.bmp"]
        for start in range(0, count, _ROWS - 1):
            broken = (self._mutator.random.choice(seeds) for _ in range(min(_ROWS - 1, count - start)))
            yield [*(self._mutator.bytes(each, seeds) for each in broken), whole]

    async def _ask_about(self, client, images):
        request = predict_request("captioner", "embed_image", image_bytes=images)
        try:
            call = client.channel.unary_unary(PREDICT, response_deserializer=predict_pb2.PredictResponse.FromString)
            answer = await call(request.SerializeToString(), timeout=4 * _MOST_S)
        except grpc.aio.AioRpcError as error:
            self._judge(error.code().name, error.details() or "", True)
            self._neighbours.append(f"{error.code().name}: {error.details()}")
            return
        said = [each.decode() for each in answer.outputs["status"].string_val]
        for each in said[:-1]:
            self._judge(each.partition(":")[0], each, True)
        if len(said) != len(images) or said[-1] != "ok":
            self._neighbours.append(said)


def _answers(server):
    async def ask():
        for kind in (GrpcClient, RestClient):
            client = kind(server)
            answer = await client.predict(10)
            await client.close()
            if answer.value != 1005:
                return False
        return True

    return asyncio.run(ask())


def _bodies():
    """`(verb, JSON)` of requests that are right."""
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


def _messages():
    """`(method, message)` of requests that are right."""
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
