"""More than can be answered: what can be is, the rest is refused at once, and soon all is as it was."""

import asyncio
import os
import statistics
import time

from benchmarks.serving_laws.clients import GrpcClient, RestClient, make_clients
from benchmarks.serving_laws.finding import Finding, nothing, percentile
from benchmarks.serving_laws.models import prepare
from benchmarks.serving_laws.server import Server, on_cores

_TIMES = 3
_LEAST_ANSWERED = 0.9
_AT_ONCE_S = 0.2
_MOST_RECOVERY_S = 5
_ROWS = 4
_CHANNELS = 4  # of gRPC, which takes many requests on each
_BATCHING = (
    f"max_batch_size {{ value: {_ROWS} }} batch_timeout_micros {{ value: 1000 }} "
    "max_enqueued_batches { value: 8 } num_batch_threads { value: 2 }"
)


def overload(folder, seconds=10.0, rounds=3, signatures=("timed", "busy"), ms=100, original=False):
    """Asks for three times what the server can do.

    Server and clients have a half of the processors each, where there are two: a flood of requests must not take from
    the server what its clients, elsewhere in production, would not take.

    Args:
        folder: empty, for the models.
        seconds: of each measurement.
        rounds: capacity and overload take turns; shares are medians over them.
        signatures: `timed` sleeps, as work on an accelerator does; `busy` computes.
        ms: that a batch takes; a request that runs by itself takes a quarter of it.
        original: start `tensorflow_model_server`, always with batching: without, it has no queue with a bound.

    Returns:
        List of `Finding`.
    """
    base, findings = prepare(folder), []
    cores = sorted(os.sched_getaffinity(0))
    half = len(cores) // 2
    own, others = cores[: max(half, 1)], cores[half:]  # the same one where there is no other
    for is_batched in (True,) if original else (True, False):
        for signature in signatures:
            flags = {**base, **queue_flags(folder, is_batched, _BATCHING)}
            with Server(original, cores=own, **flags) as server, on_cores(others):
                findings += asyncio.run(_overload(server, seconds, rounds, signature, ms, is_batched))
    return findings


def queue_flags(folder, is_batched, batching):
    """Flags of a server that runs two batches, or two requests, at once."""
    if not is_batched:
        return {"max_running_requests": 2}
    (folder / "batching.config").write_text(batching)
    return {"enable_batching": True, "batching_parameters_file": folder / "batching.config"}


async def _overload(server, seconds, rounds, signature, ms, is_batched):
    ms = ms if is_batched else ms // _ROWS
    clients = make_clients(server, 4 * _ROWS if is_batched else 8)  # so many keep both threads busy
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
    how = "in batches" if is_batched else "one by one"
    capacity = f"{statistics.median(capacities):.0f}/s"
    most_ms = f"at most {1e3 * _AT_ONCE_S:.0f} ms"
    return [
        Finding(f"`{signature}` {how}", f"capacity {capacity}; {_TIMES} times as much for {rounds} x {seconds:.0f} s"),
        Finding("answered / capacity", f"{share:.3f}", share >= _LEAST_ANSWERED, f"at least {_LEAST_ANSWERED}"),
        Finding("refused", f"{len(flood.refused)}, p50 {1e3 * percentile(flood.refused, 0.5):.1f} ms"),
        Finding("server's share of a core", f"{statistics.median(shares_of_core):.2f}"),
        Finding("refused at once, p99", f"{1e3 * at_once:.0f} ms", not at_once > _AT_ONCE_S, most_ms),
        nothing("neither answered nor UNAVAILABLE", flood.others),
        Finding(
            "normal latency again after",
            f"{recovery:.1f} s ({1e3 * statistics.median(normal):.0f} ms)",
            recovery <= _MOST_RECOVERY_S,
            f"at most {_MOST_RECOVERY_S} s",
        ),
    ]


class _Flood:
    """Asks at a rate, whatever comes back.

    Attributes:
        refused: seconds that each UNAVAILABLE took.
        others: answers that were neither that nor OK.
        clients: all that were needed: a few of gRPC, and of REST one for each request under way.
    """

    def __init__(self, server, signature, ms):
        self.refused, self.others, self._ended = [], [], []
        self.clients = [GrpcClient(server) for _ in range(_CHANNELS)]
        self._server, self._signature, self._ms = server, signature, ms
        self._free = []  # of REST

    async def run(self, rate, seconds):
        """`(answers a second, what is still under way)`; the first second, which fills the queue, does not count."""
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

    async def _ask(self, number):
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


async def _timed(client, signature, ms):
    """Seconds of one answer; infinity where it was refused."""
    started = time.perf_counter()
    answer = await client.predict(1, signature, ms=ms)
    return time.perf_counter() - started if answer.code == "OK" else float("inf")


async def _capacity(clients, seconds, signature, ms):
    """Answers a second to clients that ask without pause."""
    finished = []
    started = time.perf_counter()
    since, until = started + 1, started + 1 + seconds

    async def ask(client):
        while time.perf_counter() < until:
            await client.predict(1, signature, ms=ms)
            finished.append(time.perf_counter())

    await asyncio.gather(*(ask(client) for client in clients))
    return sum(since <= when < until for when in finished) / seconds


async def _recovery(clients, normal, signature, ms):
    """Seconds from now until five requests in a row take at most twice what they did before."""
    ended, streak = time.perf_counter(), []
    while time.perf_counter() - ended < 60:
        started = time.perf_counter()
        is_normal = await _timed(clients[len(streak) % 2], signature, ms) <= 2 * normal
        streak = [*streak, started] if is_normal else []
        if len(streak) == 5:
            return streak[0] - ended
        await asyncio.sleep(0.02)
    return float("inf")
