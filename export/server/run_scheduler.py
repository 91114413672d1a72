"""Who runs when: requests wait on the event loop, and a fixed number of threads runs them."""

import asyncio
import collections
import time
from concurrent.futures import ThreadPoolExecutor

from export.server.run_queue import RunQueue

_MOST_WAIT = 3.0  # seconds; a longer queue only answers who has gone away


class RunScheduler:
    """Runs requests on a fixed number of threads, single or in batches; to be used on one event loop.

    Each `RunQueue` is of one model, version and signature. Queues take turns. A request that was cancelled or whose
    deadline has passed while it waited is not run. Where there is no room, a request is refused at once: with batching
    each queue has `max_enqueued_batches`; without, `max_waiting` requests wait in all, fewer where they are slow.

    Args:
        threads: how many run at once.
        options: `BatchingOptions`; None: one request at a time.
        max_waiting: requests that may wait, without batching.
    """

    def __init__(self, threads, options=None, max_waiting=256):
        self.options = options
        self.threads = threads
        self.max_waiting = max_waiting
        self._executor = ThreadPoolExecutor(threads, thread_name_prefix="run")
        self._queues = collections.deque()  # those with requests, in turn
        self._running = 0
        self._run_seconds = 0.0  # a moving mean
        self._timer = None
        self._loop = None

    def queue(self, execute):
        """A new `RunQueue`.

        Args:
            execute: runs the graph: dict of alias -> array, tuple of wanted aliases, time (`time.monotonic()`) at which
                to stop or None -> dict of alias -> array.
        """
        return RunQueue(self, execute)

    def close(self):
        """Ends the threads, after what they are running."""
        if self._timer is not None:
            self._timer.cancel()
        self._executor.shutdown(wait=True)

    def waiting(self):
        """Requests that wait to be run."""
        return sum(len(queue.tasks) for queue in self._queues)

    def is_full(self):
        """Whether another request, unbatched, would wait too long or find no room."""
        waiting = self.waiting()
        if waiting >= self.max_waiting:
            return True
        return waiting > 8 * self.threads and waiting * self._run_seconds > _MOST_WAIT * self.threads

    def add(self, queue):
        """Tells that a queue has got a request."""
        self._loop = asyncio.get_running_loop()
        if queue not in self._queues:
            self._queues.append(queue)
        self._pump()

    def drop_dead(self):
        """Removes the requests that nobody waits for any more."""
        for queue in self._queues:
            queue.drop_dead()

    def _pump(self):
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

    def _work(self, queue, tasks):
        started = time.monotonic()
        try:
            results = queue.run(tasks)
        except BaseException as error:
            results = [error] * len(tasks)
        self._loop.call_soon_threadsafe(self._deliver, queue, tasks, results, time.monotonic() - started)

    def _deliver(self, queue, tasks, results, seconds):
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
