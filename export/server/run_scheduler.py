"""Who runs when: requests wait on the event loop, and a fixed number of threads runs them."""

import asyncio
import collections
import time
from concurrent.futures import ThreadPoolExecutor

import grpc

from export.server import batching
from export.server.serving_error import ServingError

_MOST_WAIT = 4.0  # seconds; a longer queue only answers who has gone away


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
            execute: runs the graph: dict of alias -> array, tuple of wanted aliases -> dict of alias -> array.
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


class RunQueue:
    """The waiting requests of one signature; made by `RunScheduler.queue`.

    Attributes:
        tasks: the requests, first come first.
        running: how many batches of them are being run.
    """

    def __init__(self, scheduler, execute):
        self.tasks = collections.deque()
        self.running = 0
        self._rows = 0  # of all tasks
        self._scheduler = scheduler
        self._options = scheduler.options
        self._execute = execute

    async def submit(self, inputs, outputs, deadline=None):
        """Waits for its turn, and for the answer.

        Args:
            inputs: dict of alias -> array.
            outputs: tuple of aliases wanted.
            deadline: time of the event loop; None for none.

        Returns:
            Dict of alias -> array.

        Raises:
            ServingError: UNAVAILABLE at once where there is no room; DEADLINE_EXCEEDED; what the graph raised.
        """
        loop = asyncio.get_running_loop()
        rows = 1 if self._options is None else batching.count_rows(inputs, self._options)
        if deadline is not None and deadline <= loop.time():
            raise _too_late()
        if not self._has_room(rows):
            self._scheduler.drop_dead()
            if not self._has_room(rows):
                raise ServingError(
                    grpc.StatusCode.UNAVAILABLE, "The batch scheduling queue to which this task was submitted is full"
                )
        task = _Task(inputs, outputs, rows, deadline, loop.create_future(), loop.time())
        self.tasks.append(task)
        self._rows += rows
        self._scheduler.add(self)
        if deadline is None:
            return await task.future
        try:
            async with asyncio.timeout_at(deadline):
                return await task.future
        except TimeoutError:
            raise _too_late() from None

    def ready_at(self):
        """Event-loop time from which on a batch may run; None where nothing waits."""
        if not self.tasks:
            return None
        if self._options is None or self._rows >= self._options.max_batch_size:
            return 0.0
        return self.tasks[0].since + self._options.timeout

    def take(self, now):
        """Takes requests that run together off the queue: a list, perhaps empty."""
        taken, left, rows, kind = [], [], 0, None
        while self.tasks:
            task = self.tasks.popleft()
            self._rows -= task.rows
            if task.is_dead(now):
                continue
            if self._options is None:
                return [task]
            if kind is None:
                kind = batching.kind_of(task.inputs, self._options)
            fits = rows + task.rows <= self._options.max_batch_size or not taken
            if fits and batching.kind_of(task.inputs, self._options) == kind:
                taken.append(task)
                rows += task.rows
            else:
                left.append(task)
                if not fits:
                    break
        self.tasks.extendleft(reversed(left))
        self._rows += sum(task.rows for task in left)
        return taken

    def drop_dead(self):
        """Removes the requests that nobody waits for any more."""
        self.tasks = collections.deque(task for task in self.tasks if not task.future.done())
        self._rows = sum(task.rows for task in self.tasks)

    def run(self, tasks):
        """Runs what `take` gave, on a thread: for each request its outputs, or the error that is its answer.

        A batch that fails is run again request by request, so that the one to blame fails alone.
        """
        try:
            return self._run_together(tasks)
        except Exception as error:
            if len(tasks) == 1:
                return [error]
        results = []
        for task in tasks:
            if task.is_dead(time.monotonic()):  # the loop's own clock
                results.append(_too_late())
                continue
            try:
                results += self._run_together([task])
            except Exception as error:
                results.append(error)
        return results

    def _run_together(self, tasks):
        outputs = tuple(sorted({alias for task in tasks for alias in task.outputs}))
        if self._options is None:
            return [self._execute(tasks[0].inputs, outputs)]
        inputs, rows = batching.join([task.inputs for task in tasks], self._options)
        results = batching.split(self._execute(inputs, outputs), [task.rows for task in tasks], rows)
        return [{alias: result[alias] for alias in task.outputs} for task, result in zip(tasks, results, strict=True)]

    def _has_room(self, rows):
        if self._options is None:
            return not self._scheduler.is_full()
        # What waits fills this many batches; free threads take one each without its having waited.
        room = self._options.max_enqueued_batches * self._options.max_batch_size
        return self._rows + rows <= room


class _Task:
    def __init__(self, inputs, outputs, rows, deadline, future, since):
        self.inputs = inputs
        self.outputs = outputs
        self.rows = rows
        self.deadline = deadline
        self.future = future
        self.since = since

    def is_dead(self, now):
        """Whether nobody waits any more."""
        return self.future.done() or (self.deadline is not None and self.deadline <= now)


def _too_late():
    return ServingError(grpc.StatusCode.DEADLINE_EXCEEDED, "The deadline of the request has passed.")
