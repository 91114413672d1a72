"""New versions under load: clients must not notice."""

import asyncio
import shutil
import time
from collections.abc import Iterable
from pathlib import Path

from benchmarks.serving_laws.clients import Load
from benchmarks.serving_laws.finding import Finding, nothing, percentile
from benchmarks.serving_laws.models import prepare, publish
from benchmarks.serving_laws.server import Server
from benchmarks.serving_laws.states import States

_MOST_SLOWER = 2.0
_MOST_THREADS = 2  # gRPC starts and ends a few
_SETTLED = 3  # swaps after which all thread pools are full


def swaps(
    folder: Path,
    count: int = 100,
    clients: int = 16,
    steady_s: float = 5.0,
    batching: bool = False,
    original: bool = False,
) -> list[Finding]:
    """Replaces a version `count` times while clients send requests; measures also intervals without a swap.

    Args:
        folder: empty folder for the models.
        count: number of swaps.
        clients: number of clients, half over gRPC, half over REST.
        steady_s: seconds without a swap before each tenth of the swaps.
        batching: enable batching.
        original: start `tensorflow_model_server`.

    Returns:
        List of `Finding`.
    """
    with Server(original, **prepare(folder), enable_batching=batching, file_system_poll_wait_seconds=1) as server:
        return asyncio.run(_swaps(server, folder, count, clients, steady_s))


async def _swaps(server: Server, folder: Path, count: int, clients: int, steady_s: float) -> list[Finding]:
    steady, swapping, threads, took = [], [], [], []
    async with Load(server, clients) as load, States(server) as states:
        await asyncio.sleep(min(2.0, steady_s))  # connections and other one-time work
        for version in range(2, count + 2):
            if (version - 2) % max(1, count // 10) == 0:
                started = time.perf_counter()
                await asyncio.sleep(steady_s)
                steady += load.times(started, time.perf_counter())
            started = time.perf_counter()
            await asyncio.to_thread(publish, folder / "template", folder / "half", version)
            await states.wait_for({version: "AVAILABLE", version - 1: "END"})
            took.append(time.perf_counter() - started)
            swapping += load.times(started, time.perf_counter())
            threads.append(server.threads())
            shutil.rmtree(folder / "half" / str(version - 1))
    more = max(threads[_SETTLED:], default=threads[-1]) - threads[min(_SETTLED, count) - 1]
    slower = percentile(swapping, 0.99) / percentile(steady, 0.99)
    return [
        Finding("swaps", f"{count}, {sum(took) / count:.2f} s each"),
        Finding("responses", f"{len(load.answered)} to {clients} clients, gRPC and REST"),
        nothing("failed", load.failed),
        nothing("wrong", load.wrong),
        nothing("from an older version", load.back),
        Finding("threads", f"{more:+d}", more <= _MOST_THREADS, f"at most {_MOST_THREADS} more"),
        Finding("p50, steady / swapping", f"{_ms(steady, 0.5)} / {_ms(swapping, 0.5)}"),
        Finding("p99, steady / swapping", f"{_ms(steady, 0.99)} / {_ms(swapping, 0.99)}"),
        Finding("p99 of swaps / steady", f"{slower:.2f}", slower <= _MOST_SLOWER, f"at most {_MOST_SLOWER}"),
    ]


def _ms(seconds: Iterable[float], share: float) -> str:
    return f"{1e3 * percentile(seconds, share):.1f} ms"
