"""Requests for minutes: no errors, constant memory."""

import asyncio
import base64
import json
import time
from pathlib import Path
from typing import Any

from benchmarks.serving_laws.clients import GrpcClient, Load, RestClient
from benchmarks.serving_laws.finding import Finding, nothing
from benchmarks.serving_laws.models import predict_request, prepare
from benchmarks.serving_laws.server import Server
from vl_keras.data.modalities.golden_images import golden_images

_MOST_GROWTH = 1.05
_WINDOWS = 10  # the first one warms up


def soak(
    folder: Path, seconds: float = 600.0, clients: int = 16, captioner: Path | None = None, original: bool = False
) -> list[Finding]:
    """Sends requests without pause to a small model and a captioner; some requests are invalid.

    Args:
        folder: empty folder for the models.
        seconds: duration.
        clients: number of clients of the small model, half over gRPC, half over REST.
        captioner: folder with the versions of an exported captioner; None: no captioner.
        original: start `tensorflow_model_server`.

    Returns:
        List of `Finding`.
    """
    (folder / "batching.config").write_text(
        "max_batch_size { value: 16 } batch_timeout_micros { value: 1000 } max_enqueued_batches { value: 100 }"
    )
    flags = {"enable_batching": True, "batching_parameters_file": folder / "batching.config"}
    with Server(original, **prepare(folder, captioner), **flags) as server:
        return asyncio.run(_soak(server, seconds, clients, captioner))


async def _soak(server: Server, seconds: float, clients: int, captioner: Path | None) -> list[Finding]:
    samples, bad, images, threads = [], [], _Images(server), []
    started = time.perf_counter()
    async with Load(server, clients) as load:
        others = [_send_invalid(server, bad, started + seconds)]
        if captioner:
            others.append(images.send(started + seconds))
        tasks = [asyncio.create_task(each) for each in others]
        while (passed := time.perf_counter() - started) < seconds:
            samples.append((int(passed / seconds * _WINDOWS), server.megabytes()))
            threads.append(server.threads())
            await asyncio.sleep(min(1.0, seconds / 100))
        await asyncio.gather(*tasks)
    means = []
    for window in range(1, _WINDOWS):
        values = [megabytes for number, megabytes in samples if number == window]
        means.append(sum(values) / len(values))
    growth = max(means) / means[0]
    return [
        Finding("soak", f"{seconds:.0f} s, {clients} clients, gRPC and REST"),
        Finding("responses", f"{len(load.answered)}, and {images.count} captions"),
        nothing("failed", [*load.failed, *images.failed]),
        nothing("wrong", [*load.wrong, *images.wrong]),
        nothing("invalid requests not rejected", bad),
        Finding("threads, most / first tenth", f"{max(threads)} / {max(threads[: len(threads) // 10])}"),
        Finding("memory, MB", " ".join(f"{mean:.0f}" for mean in means)),
        Finding("memory, most / second tenth", f"{growth:.3f}", growth <= _MOST_GROWTH, f"at most {_MOST_GROWTH}"),
    ]


async def _send_invalid(server: Server, found: list[Any], until: float) -> None:
    """Sends invalid requests from time to time."""
    over_rest, over_grpc = RestClient(server), GrpcClient(server)
    while time.perf_counter() < until:
        status, body = await over_rest.request(b"POST", b"/v1/models/half:predict", b'{"instances": ["text"]}')
        if status != 400 or b'"error"' not in body:
            found.append((status, body))
        answer = await over_grpc.predict(1, "no_such_signature")
        if answer.code != "FAILED_PRECONDITION":
            found.append(answer)
        await asyncio.sleep(0.05)
    await over_rest.close()
    await over_grpc.close()


class _Images:
    """Sends one image after another to a captioner, over gRPC and REST."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self.failed, self.wrong, self.count = [], [], 0

    async def send(self, until: float) -> None:
        """Sends images until the time `until` (`time.perf_counter`)."""
        over_rest, over_grpc = RestClient(self._server), GrpcClient(self._server)
        call = over_grpc.channel.unary_unary("/tensorflow.serving.PredictionService/Predict")
        expected = {}
        while time.perf_counter() < until:
            for name, image in golden_images().items():
                body = {"instances": [{"image_bytes": {"b64": base64.b64encode(image).decode()}}]}
                status, body = await over_rest.request(
                    b"POST", b"/v1/models/captioner:predict", json.dumps(body).encode()
                )
                if status != 200:
                    self.failed.append(f"{name}: {status} {body[:200]}")
                    continue
                caption = json.loads(body)["predictions"][0]["caption"]
                answer = await call(predict_request("captioner", image_bytes=[image]).SerializeToString())
                if expected.setdefault(name, caption) != caption or caption.encode() not in answer:
                    self.wrong.append(f"{name}: {caption} after {expected[name]}")
                self.count += 2
                if time.perf_counter() > until:
                    break
        await over_rest.close()
        await over_grpc.close()
