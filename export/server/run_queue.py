"""The queue of waiting requests of one signature."""

import asyncio
import collections
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

import grpc
import numpy as np

from export.server import batching
from export.server.serving_error import ServingError

if TYPE_CHECKING:
    from export.server.run_scheduler import RunScheduler

# Runs the graph: inputs by alias, aliases of the outputs, and the time (`time.monotonic()`) to stop at or None.
Execute = Callable[[Mapping[str, np.ndarray], Sequence[str], float | None], dict[str, np.ndarray]]


class RunQueue:
    """The waiting requests of one signature; created by `RunScheduler.queue`.

    Attributes:
        tasks: the requests, oldest first.
        running: number of batches in progress.
    """

    def __init__(self, scheduler: "RunScheduler", execute: Execute) -> None:
        self.tasks: collections.deque[Task] = collections.deque()
        self.running = 0
        self._rows = 0  # of all tasks
        self._scheduler = scheduler
        self._options = scheduler.options
        self._execute = execute

    async def submit(
        self, inputs: Mapping[str, np.ndarray], outputs: tuple[str, ...], deadline: float | None = None
    ) -> dict[str, np.ndarray]:
        """Queues a request and waits for its outputs.

        Args:
            inputs: dict of alias -> array.
            outputs: aliases of the outputs to return.
            deadline: time of the event loop; None: no deadline.

        Returns:
            Dict of alias -> array.

        Raises:
            ServingError: UNAVAILABLE; the queue is full. DEADLINE_EXCEEDED. Any error of the graph.
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
            self._scheduler.drop_cancelled()
            if not self._has_room(rows):
                raise _full()
        task = Task(inputs, outputs, rows, deadline, loop.create_future(), loop.time())
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

    def ready_at(self) -> float | None:
        """Event-loop time from which a batch may run; None if the queue is empty."""
        if not self.tasks:
            return None
        if self._options is None or self._rows >= self._options.max_batch_size:
            return 0.0
        return self.tasks[0].since + self._options.timeout

    def take(self, now: float) -> list["Task"]:
        """Removes the requests of the next batch from the queue; may be empty."""
        taken: list[Task] = []
        left: list[Task] = []
        rows, kind = 0, None
        while self.tasks:
            task = self.tasks.popleft()
            self._rows -= task.rows
            if task.is_cancelled(now):
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

    def drop_cancelled(self) -> None:
        """Removes cancelled and finished requests."""
        self.tasks = collections.deque(task for task in self.tasks if not task.future.done())
        self._rows = sum(task.rows for task in self.tasks)

    def run(self, tasks: Sequence["Task"]) -> Sequence[dict[str, np.ndarray] | Exception]:
        """Runs the requests from `take`, on a thread; returns the outputs or the error of each.

        If the batch fails, the requests run again one by one, so that only the bad ones fail.
        """
        try:
            return self._run_together(tasks)
        except Exception as error:
            if len(tasks) == 1:
                return [error]
        results: list[dict[str, np.ndarray] | Exception] = []
        for task in tasks:
            if task.is_cancelled(time.monotonic()):  # the clock of the event loop
                results.append(_too_late())
                continue
            try:
                results += self._run_together([task])
            except Exception as error:
                results.append(error)
        return results

    def _run_together(self, tasks: Sequence["Task"]) -> list[dict[str, np.ndarray]]:
        outputs = tuple(sorted({alias for task in tasks for alias in task.outputs}))
        # A batch may run until the last deadline of its requests.
        deadlines = [task.deadline for task in tasks if task.deadline is not None]
        deadline = max(deadlines) if len(deadlines) == len(tasks) else None
        if self._options is None:
            return [self._execute(tasks[0].inputs, outputs, deadline)]
        inputs, rows = batching.join([task.inputs for task in tasks], self._options)
        results = batching.split(self._execute(inputs, outputs, deadline), [task.rows for task in tasks], rows)
        return [{alias: result[alias] for alias in task.outputs} for task, result in zip(tasks, results, strict=True)]

    def _has_room(self, rows: int) -> bool:
        if self._options is None:
            return not self._scheduler.is_full()
        # The limit counts waiting batches; batches in progress are not in the queue.
        room = self._options.max_enqueued_batches * self._options.max_batch_size
        return self._rows + rows <= room


class Task:
    """A waiting request. `future` receives its outputs or its error."""

    def __init__(
        self,
        inputs: Mapping[str, np.ndarray],
        outputs: tuple[str, ...],
        rows: int,
        deadline: float | None,
        future: asyncio.Future,
        since: float,
    ) -> None:
        self.inputs = inputs
        self.outputs = outputs
        self.rows = rows
        self.deadline = deadline
        self.future = future
        self.since = since

    def is_cancelled(self, now: float) -> bool:
        """Whether the request is cancelled or past its deadline."""
        return self.future.done() or (self.deadline is not None and self.deadline <= now)


def _full() -> ServingError:
    return ServingError(
        grpc.StatusCode.UNAVAILABLE, "The batch scheduling queue to which this task was submitted is full"
    )


def _too_late() -> ServingError:
    return ServingError(grpc.StatusCode.DEADLINE_EXCEEDED, "The deadline of the request has passed.")
