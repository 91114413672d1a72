"""Waiting requests: they must not run after their deadline, and must not be lost when the server stops."""

import asyncio
import time
from pathlib import Path
from typing import Any

from benchmarks.serving_laws.clients import make_clients
from benchmarks.serving_laws.finding import Finding, nothing
from benchmarks.serving_laws.models import prepare
from benchmarks.serving_laws.overload import queue_flags
from benchmarks.serving_laws.server import Server

_MOST_STOP_S = 30
_BUSY = 6  # requests of two seconds each, for two threads
_ONE_BY_ONE = (
    "max_batch_size { value: 1 } batch_timeout_micros { value: 0 } max_enqueued_batches { value: 1000 } "
    "num_batch_threads { value: 2 }"
)


def queued(folder: Path, count: int = 100, original: bool = False) -> list[Finding]:
    """Sends requests whose deadlines pass while they wait, and stops the server while requests wait.

    Args:
        folder: empty folder for the models.
        count: number of waiting requests, half over gRPC, half over REST.
        original: start `tensorflow_model_server`, always with batching; it is not stopped, since it exits at once.

    Returns:
        List of `Finding`.
    """
    base, findings = prepare(folder), []
    for is_batched in (True,) if original else (True, False):
        flags = {**base, **queue_flags(folder, is_batched, _ONE_BY_ONE)}
        with Server(original, **flags) as server:
            findings += asyncio.run(_deadlines(server, is_batched, count))
            if not original:
                findings += asyncio.run(_stop(server, is_batched, count))
    return findings


async def _deadlines(server: Server, is_batched: bool, count: int) -> list[Finding]:
    clients = await _connected(server, count)
    before = (await clients[0].predict(0, "count")).value
    keep_busy = [asyncio.create_task(client.predict(1, "timed", ms=2000)) for client in clients[:_BUSY]]
    await asyncio.sleep(0.5)
    late = await asyncio.gather(*(client.predict(1, "timed", timeout=0.3, ms=1) for client in clients[_BUSY:]))
    codes = [answer.code for answer in late if answer.code != "DEADLINE_EXCEEDED"]
    others = [answer.code for answer in await asyncio.gather(*keep_busy) if answer.code != "OK"]
    runs = (await clients[0].predict(0, "count")).value - before
    for client in clients:
        await client.close()
    return [
        Finding("queue", "with batching" if is_batched else "without batching"),
        Finding("deadline passed in the queue", f"{len(late)}"),
        nothing("other responses", [*codes, *others]),
        Finding("run despite the deadline", f"{runs - _BUSY:.0f}", runs == _BUSY, "none"),
    ]


async def _stop(server: Server, is_batched: bool, count: int) -> list[Finding]:
    clients = await _connected(server, count)
    tasks = [asyncio.create_task(client.predict(1, "timed", ms=50)) for client in clients]
    await asyncio.sleep(1)
    left = sum(not task.done() for task in tasks)
    stopped = time.perf_counter()
    server.stop()
    answers = await asyncio.gather(*tasks)
    refused = [answer for answer in answers if answer.code == "UNAVAILABLE" and "full" in answer.text]
    lost = [f"{each.code} {each.text}" for each in answers if each.code != "OK" and each not in refused]
    took = time.perf_counter() - stopped
    code = await asyncio.to_thread(server.exit_code, _MOST_STOP_S)
    for client in clients:
        await client.close()
    return [
        Finding("waiting at SIGTERM", f"{left} of {count}, {len(refused)} rejected: queue full"),
        nothing("accepted but lost", lost),
        Finding("last response after", f"{took:.1f} s", took <= _MOST_STOP_S, f"at most {_MOST_STOP_S} s"),
        Finding("exit status", f"{code}", code == 0, "0"),
    ]


async def _connected(server: Server, count: int) -> list[Any]:
    clients = make_clients(server, count)
    await asyncio.gather(*(client.predict(0, "count") for client in clients))
    return clients
