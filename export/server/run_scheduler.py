"""Schedules runs: requests wait on the event loop, and a fixed number of threads runs them."""

import asyncio
import collections
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from export.server.batching import BatchingOptions
from export.server.run_queue import Execute, RunQueue, Task

_MOST_WAIT = 3.0  # seconds; clients give up on a longer queue


class RunScheduler:
    """Runs requests on a fixed number of threads, one by one or in batches. Use it on one event loop.

    There is one `RunQueue` per signature of a version; the queues take turns. A request that is cancelled or past its
    deadline is not run. If a queue is full, a request is rejected at once: with batching each queue may hold
    `max_enqueued_batches`; without, all queues together may hold `max_waiting` requests, or fewer if they are slow.

    Args:
        threads: number of parallel runs.
        options: `BatchingOptions`; None: no batching.
        max_waiting: maximum number of waiting requests without batching.
    """

    def __init__(self, threads: int, options: BatchingOptions | None = None, max_waiting: int = 256) -> None:
        self.options = options
        self.threads = threads
        self.max_waiting = max_waiting
        self._executor = ThreadPoolExecutor(threads, thread_name_prefix="run")
        self._queues: collections.deque[RunQueue] = collections.deque()  # queues with requests, in order of their turn
        self._running = 0
        self._run_seconds = 0.0  # moving average of the duration of a run
        self._timer: asyncio.TimerHandle | None = None
        self._loop: Any = None  # the event loop, once a request has come

    def queue(self, execute: Execute) -> RunQueue:
        """Creates a `RunQueue`.

        Args:
            execute: runs the graph; see `Execute`.
        """
        return RunQueue(self, execute)

    def close(self) -> None:
        """Ends the threads after their current runs."""
        if self._timer is not None:
            self._timer.cancel()
        self._executor.shutdown(wait=True)

    def waiting(self) -> int:
        """The number of waiting requests."""
        return sum(len(queue.tasks) for queue in self._queues)

    def is_full(self) -> bool:
        """Whether a request without batching would have to wait too long."""
        waiting = self.waiting()
        if waiting >= self.max_waiting:
            return True
        return waiting > 8 * self.threads and waiting * self._run_seconds > _MOST_WAIT * self.threads

    def add(self, queue: RunQueue) -> None:
        """Schedules a queue that has received a request."""
        self._loop = asyncio.get_running_loop()
        if queue not in self._queues:
            self._queues.append(queue)
        self._pump()

    def drop_cancelled(self) -> None:
        """Removes cancelled and finished requests from all queues."""
        for queue in self._queues:
            queue.drop_cancelled()

    def _pump(self) -> None:
        now = self._loop.time()
        next_ready = None
        skipped = 0
        while self._queues and self._running < self.threads and skipped < len(self._queues):
            queue = self._queues.popleft()
            ready = queue.ready_at()
            if ready is None:  # empty
                continue
            self._queues.append(queue)
            if ready > now:
                next_ready = ready if next_ready is None else min(ready, next_ready)
                skipped += 1
                continue
            skipped = 0
            tasks = queue.take(now)
            if tasks:
                self._running += 1
                queue.running += 1
                self._executor.submit(self._work, queue, tasks)
        if next_ready is not None:
            if self._timer is not None:
                self._timer.cancel()
            self._timer = self._loop.call_at(next_ready, self._pump)

    def _work(self, queue: RunQueue, tasks: Sequence[Task]) -> None:
        started = time.monotonic()
        try:
            results: Sequence[Any] = queue.run(tasks)
        except BaseException as error:
            results = [error] * len(tasks)
        self._loop.call_soon_threadsafe(self._deliver, queue, tasks, results, time.monotonic() - started)

    def _deliver(self, queue: RunQueue, tasks: Sequence[Task], results: Sequence[Any], seconds: float) -> None:
        self._running -= 1
        queue.running -= 1
        self._run_seconds += 0.1 * (seconds - self._run_seconds)
        for task, result in zip(tasks, results, strict=True):
            if task.future.done():
                continue
            if isinstance(result, BaseException):
                task.future.set_exception(result)
            else:
                task.future.set_result(result)
        self._pump()
