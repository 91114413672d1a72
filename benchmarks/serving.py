"""Latency, throughput and cold start of the local server, compared with the same SavedModel in this process.

    python benchmarks/serving.py MODEL_FOLDER [--rounds 7]

MODEL_FOLDER contains the versions of an exported captioner, e.g. runs/demo/models/captioner. Served and in-process
calls use the same image and thread settings and alternate in every round; a ratio is the median over rounds.
"""

import argparse
import asyncio
import concurrent.futures
import json
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from base64 import b64encode
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Self

import grpc

import vl_keras  # noqa: F401  selects Keras 2 before TensorFlow is imported

import tensorflow as tf  # isort: skip
import tensorflow_text  # noqa: F401  registers the operations of exported captioners  # isort: skip
from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc

from export.publish import versions
from vl_keras.data.modalities.golden_images import golden_images

CLIENTS = 16
CALLS = 15  # calls per variant and round of the latency measurement
GRPC_LIMIT, REST_LIMIT, THROUGHPUT_LIMIT = 1.10, 1.25, 0.95
# Half of the clients fit into a batch: while one batch runs, the next is collected, and all batches are full.
BATCHING = f"max_batch_size {{ value: {CLIENTS // 2} }} batch_timeout_micros {{ value: 20000 }}"


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("model", type=Path, help="folder with the versions of an exported captioner")
    parser.add_argument("--rounds", type=int, default=7, help="number of rounds (at least 5)")
    options = parser.parse_args(arguments)
    rounds = max(options.rounds, 5)
    image = golden_images()["landscape.jpg"]
    caption = tf.saved_model.load(str(options.model / str(versions(options.model)[-1]))).signatures["caption"]
    cold_start(options.model, image)
    held = latency(options.model, caption, image, rounds)
    held &= throughput(options.model, caption, image, rounds)
    return 0 if held else 1


class Server:
    """`vl-export serve` in a separate process."""

    def __init__(self, *flags: str) -> None:
        self.started = time.perf_counter()
        command = [sys.executable, "-m", "export", "serve", "--port=-1", "--rest_api_port=-1", "--model_name=captioner"]
        self.process = subprocess.Popen([*command, *flags], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        lines = []
        for line in self.process.stdout:
            lines.append(line)
            ports = re.findall(r"at:?\s?[\w.]+:(\d+) \.\.\.", "".join(lines))
            if "All models are available" in line:
                break
        else:
            raise SystemExit("The server did not start:\n" + "".join(lines))
        self.grpc_port, self.rest_port = ports[:2]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.terminate()
        self.process.wait()


def cold_start(model: Path, image: bytes) -> None:
    """Prints the time from process start to the first response, with two warmed-up versions."""
    with tempfile.TemporaryDirectory() as folder:
        base, config = Path(folder, "captioner"), Path(folder, "models.config")
        for number in (1, 2):
            shutil.copytree(model / str(versions(model)[-1]), base / str(number))
        config.write_text(
            f"model_config_list {{ config {{ name: 'captioner' base_path: '{base}' model_platform: 'tensorflow' "
            "model_version_policy { all {} } } }"
        )
        with Server(f"--model_config_file={config}") as server:
            with grpc.insecure_channel(f"127.0.0.1:{server.grpc_port}") as channel:
                prediction_service_pb2_grpc.PredictionServiceStub(channel).Predict(request_of(image))
            seconds = time.perf_counter() - server.started
    print(f"cold start    {seconds:.1f} s to the first response, two versions with warm-up")


def latency(model: Path, caption: Callable[..., Any], image: bytes, rounds: int) -> bool:
    """Median latency of one caption, served and in process; returns whether the targets hold."""
    tensor = tf.constant([image])
    request, body = request_of(image), _body(image)
    with Server(f"--model_base_path={model.resolve()}") as server:
        with grpc.insecure_channel(f"127.0.0.1:{server.grpc_port}") as channel:
            stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
            url = f"http://127.0.0.1:{server.rest_port}/v1/models/captioner:predict"

            def rest() -> str:
                with urllib.request.urlopen(urllib.request.Request(url, body)) as answer:
                    return json.load(answer)["predictions"][0]["caption"]

            sides = {
                "in process": lambda: caption(image_bytes=tensor)["caption"].numpy()[0].decode(),
                "gRPC": lambda: stub.Predict(request).outputs["caption"].string_val[0].decode(),
                "REST": rest,
            }
            answers = {name: call() for name, call in sides.items()}
            if len(set(answers.values())) != 1:
                raise SystemExit(f"The captions differ: {answers}")
            medians = {name: [] for name in sides}
            for _ in range(rounds):
                times = {name: [] for name in sides}
                for _ in range(CALLS):
                    for name, call in sides.items():
                        begun = time.perf_counter()
                        call()
                        times[name].append(time.perf_counter() - begun)
                for name, values in times.items():
                    medians[name].append(statistics.median(values))
    base = medians["in process"]
    print(f"latency       {statistics.median(base) * 1e3:.1f} ms in process (p50)")
    held = True
    for name, limit in (("gRPC", GRPC_LIMIT), ("REST", REST_LIMIT)):
        ratio = statistics.median(served / alone for served, alone in zip(medians[name], base, strict=True))
        held &= _report(f"{name} / in process", ratio, limit, ratio <= limit)
    return held


def throughput(model: Path, caption: Callable[..., Any], image: bytes, rounds: int) -> bool:
    """Captions per second of 16 clients with server-side batching, and of batches of 16 in process."""
    tensor, request = tf.constant([image] * CLIENTS), request_of(image)
    caption(image_bytes=tensor)
    config = model.parent / ".serving-benchmark.batching"
    config.write_text(BATCHING)
    ratios = []
    try:
        flags = "--enable_batching", f"--batching_parameters_file={config}"
        with Server(f"--model_base_path={model.resolve()}", *flags) as server:
            with concurrent.futures.ThreadPoolExecutor(1) as pool:
                for number in range(rounds + 1):
                    count = 6 * CLIENTS
                    begun = time.perf_counter()
                    for _ in range(count // CLIENTS):
                        caption(image_bytes=tensor)
                    alone = count / (time.perf_counter() - begun)
                    served = count / pool.submit(asyncio.run, load(server.grpc_port, request, count)).result()
                    if number:  # the first round warms up
                        ratios.append((served / alone, served, alone))
    finally:
        config.unlink()
    ratio, served, alone = (statistics.median(column) for column in zip(*ratios, strict=True))
    print(f"throughput    {served:.1f} captions/s to {CLIENTS} clients, {alone:.1f} in process, batches of {CLIENTS}")
    return _report("served / in process", ratio, THROUGHPUT_LIMIT, ratio >= THROUGHPUT_LIMIT)


async def load(port: str, request: predict_pb2.PredictRequest, count: int, clients: int = CLIENTS) -> float:
    """Seconds that `clients` parallel clients take for `count` requests."""
    waiting = iter(range(count))

    async def client(stub: Any) -> None:
        for _ in waiting:
            await stub.Predict(request)

    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
        await stub.Predict(request)
        begun = time.perf_counter()
        await asyncio.gather(*(client(stub) for _ in range(clients)))
        return time.perf_counter() - begun


def request_of(image: bytes) -> predict_pb2.PredictRequest:
    """A Predict request for one image."""
    request = predict_pb2.PredictRequest()
    request.model_spec.name = "captioner"
    request.inputs["image_bytes"].CopyFrom(tf.make_tensor_proto([image], tf.string))
    return request


def _body(image: bytes) -> bytes:
    return json.dumps({"instances": [{"image_bytes": {"b64": b64encode(image).decode()}}]}).encode()


def _report(name: str, ratio: float, limit: float, held: bool) -> bool:
    print(f"  {name:24} {ratio:.3f}  (target {limit:.2f}: {'held' if held else 'MISSED'})")
    return held


if __name__ == "__main__":
    sys.exit(main())
