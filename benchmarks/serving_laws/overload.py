"""Overload: requests within capacity must succeed, the rest must be rejected at once, and the server must recover."""

import asyncio
import os
import statistics
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.serving_laws.clients import GrpcClient, RestClient, make_clients
from benchmarks.serving_laws.finding import Finding, nothing, percentile
from benchmarks.serving_laws.models import prepare
from benchmarks.serving_laws.server import Server, on_cores

_TIMES = 3
_LEAST_ANSWERED = 0.9
_AT_ONCE_S = 0.2
_MOST_RECOVERY_S = 5
_ROWS = 4
_CHANNELS = 4  # gRPC channels; each carries many parallel requests
_BATCHING = (
    f"max_batch_size {{ value: {_ROWS} }} batch_timeout_micros {{ value: 1000 }} "
    "max_enqueued_batches { value: 8 } num_batch_threads { value: 2 }"
)


def overload(
    folder: Path,
    seconds: float = 10.0,
    rounds: int = 3,
    signatures: Sequence[str] = ("timed", "busy"),
    ms: int = 100,
    original: bool = False,
) -> list[Finding]:
    """Sends three times as many requests as the server can handle.

    If there are at least two CPUs, server and clients use one half each: in production the clients run on other
    machines, so they must not take CPU time from the server.

    Args:
        folder: empty folder for the models.
        seconds: duration of each measurement.
        rounds: capacity and overload are measured in turn; results are medians over the rounds.
        signatures: `timed` sleeps, like work on an accelerator; `busy` computes.
        ms: duration of a batch; a single request takes a quarter of it.
        original: start `tensorflow_model_server`, always with batching: without, its queue has no limit.

    Returns:
        List of `Finding`.
    """
    base, findings = prepare(folder), []
    cores = sorted(os.sched_getaffinity(0))
    half = len(cores) // 2
    own, others = cores[: max(half, 1)], cores[half:]  # the same CPU if there is only one
    for is_batched in (True,) if original else (True, False):
        for signature in signatures:
            flags = {**base, **queue_flags(folder, is_batched, _BATCHING)}
            with Server(original, cores=own, **flags) as server, on_cores(others):
                findings += asyncio.run(_overload(server, seconds, rounds, signature, ms, is_batched))
    return findings


def queue_flags(folder: Path, is_batched: bool, batching: str) -> dict[str, Any]:
    """Flags for a server with two parallel batches or two parallel requests."""
    if not is_batched:
        return {"max_running_requests": 2}
    (folder / "batching.config").write_text(batching)
    return {"enable_batching": True, "batching_parameters_file": folder / "batching.config"}


async def _overload(
    server: Server, seconds: float, rounds: int, signature: str, ms: int, is_batched: bool
) -> list[Finding]:
    ms = ms if is_batched else ms // _ROWS
    clients = make_clients(server, 4 * _ROWS if is_batched else 8)  # enough to keep both threads busy
    shares, capacities, recoveries, normal, shares_of_core = [], [], [], [], []
    flood = _Flood(server, signature, ms)
    for _ in range(rounds):
        times = [await _timed(clients[i % 2], signature, ms) for i in range(20)]
        normal.append(statistics.median(times))
        capacities.append(await _capacity(clients, seconds, signature, ms))
        used = server.cpu_seconds()
        answered, tasks = await flood.run(_TIMES * capacities[-1], seconds)
        shares_of_core.append((server.cpu_seconds() - used) / (1 + seconds))
        recoveries.append(await _recovery(clients[:2], normal[-1], signature, ms))
        await asyncio.gather(*tasks)
        shares.append(answered / capacities[-1])
    for client in [*clients, *flood.clients]:
        await client.close()
    share, recovery = statistics.median(shares), statistics.median(recoveries)
    at_once = percentile(flood.refused, 0.99)
    how = "with batching" if is_batched else "without batching"
    capacity = f"{statistics.median(capacities):.0f}/s"
    most_ms = f"at most {1e3 * _AT_ONCE_S:.0f} ms"
    return [
        Finding(f"`{signature}` {how}", f"capacity {capacity}; {_TIMES} times as much for {rounds} x {seconds:.0f} s"),
        Finding("succeeded / capacity", f"{share:.3f}", share >= _LEAST_ANSWERED, f"at least {_LEAST_ANSWERED}"),
        Finding("rejected", f"{len(flood.refused)}, p50 {1e3 * percentile(flood.refused, 0.5):.1f} ms"),
        Finding("CPUs used by the server", f"{statistics.median(shares_of_core):.2f}"),
        Finding("time to reject, p99", f"{1e3 * at_once:.0f} ms", not at_once > _AT_ONCE_S, most_ms),
        nothing("neither OK nor UNAVAILABLE", flood.others),
        Finding(
            "normal latency after",
            f"{recovery:.1f} s ({1e3 * statistics.median(normal):.0f} ms)",
            recovery <= _MOST_RECOVERY_S,
            f"at most {_MOST_RECOVERY_S} s",
        ),
    ]


class _Flood:
    """Sends requests at a fixed rate, independent of the responses.

    Attributes:
        refused: latency of each UNAVAILABLE response.
        others: responses that are neither UNAVAILABLE nor OK.
        clients: the clients: a few gRPC channels, and one REST connection per parallel request.
    """

    def __init__(self, server: Server, signature: str, ms: int) -> None:
        self.refused, self.others, self._ended = [], [], []
        self.clients = [GrpcClient(server) for _ in range(_CHANNELS)]
        self._server, self._signature, self._ms = server, signature, ms
        self._free = []  # idle REST clients

    async def run(self, rate: float, seconds: float) -> tuple[float, set[asyncio.Task]]:
        """`(responses per second, tasks in progress)`; the first second, which fills the queue, does not count."""
        self._ended.clear()
        tasks, sent = set(), 0
        started = time.perf_counter()
        since, until = started + 1, started + 1 + seconds
        while (now := time.perf_counter()) < until:
            while sent < (now - started) * rate:
                task = asyncio.create_task(self._ask(sent))
                tasks.add(task)
                task.add_done_callback(tasks.discard)
                sent += 1
            await asyncio.sleep(0.005)
        return sum(since <= when < until for when in self._ended) / seconds, set(tasks)

    async def _ask(self, number: int) -> None:
        is_rest = number % 2
        if is_rest and not self._free:
            self._free.append(RestClient(self._server))
            self.clients.append(self._free[-1])
        client = self._free.pop() if is_rest else self.clients[number // 2 % _CHANNELS]
        started = time.perf_counter()
        answer = await client.predict(1, self._signature, ms=self._ms)
        ended = time.perf_counter()
        if answer.code == "OK":
            self._ended.append(ended)
        elif answer.code == "UNAVAILABLE":
            self.refused.append(ended - started)
        else:
            self.others.append(f"{answer.code} {answer.text}")
        if is_rest:
            self._free.append(client)


async def _timed(client: Any, signature: str, ms: int) -> float:
    """Latency of one request; infinity if it is rejected."""
    started = time.perf_counter()
    answer = await client.predict(1, signature, ms=ms)
    return time.perf_counter() - started if answer.code == "OK" else float("inf")


async def _capacity(clients: Sequence[Any], seconds: float, signature: str, ms: int) -> float:
    """Responses per second to clients that send requests without pause."""
    finished = []
    started = time.perf_counter()
    since, until = started + 1, started + 1 + seconds

    async def ask(client: Any) -> None:
        while time.perf_counter() < until:
            await client.predict(1, signature, ms=ms)
            finished.append(time.perf_counter())

    await asyncio.gather(*(ask(client) for client in clients))
    return sum(since <= when < until for when in finished) / seconds


async def _recovery(clients: Sequence[Any], normal: float, signature: str, ms: int) -> float:
    """Seconds until five requests in a row have at most twice the normal latency."""
    ended, streak = time.perf_counter(), []
    while time.perf_counter() - ended < 60:
        started = time.perf_counter()
        is_normal = await _timed(clients[len(streak) % 2], signature, ms) <= 2 * normal
        streak = [*streak, started] if is_normal else []
        if len(streak) == 5:
            return streak[0] - ended
        await asyncio.sleep(0.02)
    return float("inf")
