"""The requests of one signature that wait to be run."""

import asyncio
import collections
import time

import grpc
import numpy as np

from export.server import batching
from export.server.serving_error import ServingError


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
        if self._options is not None and rows > self._options.max_batch_size:
            if not self._has_room(rows):
                raise _full()
            parts = batching.parts_of(inputs, rows, self._options)
            results = await asyncio.gather(*(self.submit(part, outputs, deadline) for part in parts))
            return {alias: np.concatenate([result[alias] for result in results]) for alias in outputs}
        if not self._has_room(rows):
            self._scheduler.drop_dead()
            if not self._has_room(rows):
                raise _full()
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
        # Together they run until nobody waits any more.
        deadline = None if any(task.deadline is None for task in tasks) else max(task.deadline for task in tasks)
        if self._options is None:
            return [self._execute(tasks[0].inputs, outputs, deadline)]
        inputs, rows = batching.join([task.inputs for task in tasks], self._options)
        results = batching.split(self._execute(inputs, outputs, deadline), [task.rows for task in tasks], rows)
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


def _full():
    return ServingError(
        grpc.StatusCode.UNAVAILABLE, "The batch scheduling queue to which this task was submitted is full"
    )


def _too_late():
    return ServingError(grpc.StatusCode.DEADLINE_EXCEEDED, "The deadline of the request has passed.")
