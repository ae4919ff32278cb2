"""Backlog: what is done beside the requests of clients: so much at once, so much that waits, each with a deadline."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Coroutine

_log = logging.getLogger("penstock.gateway")

Job = Callable[[], Coroutine[object, object, None]]


class Backlog:
    """Works on ``at_once`` jobs, in the order they came; ``waiting`` more may wait, that hold ``size`` bytes at most.
    A job has ``within_s`` seconds from its beginning. Belongs to one event loop."""

    def __init__(self, *, at_once: int, waiting: int, size: int, within_s: float) -> None:
        self._at_once = at_once
        self._waiting = waiting
        self._room = size
        self._within_s = within_s
        self._jobs: deque[tuple[Job, int]] = deque()
        self._tasks: set[asyncio.Task[None]] = set()
        self._closed = False

    def offer(self, job: Job, size: int) -> bool:
        """Takes the job, which holds ``size`` bytes; False: there are too many, or it is closed, and nothing is
        done."""
        if self._closed:
            return False
        if len(self._tasks) < self._at_once:
            self._begin(job)
            return True
        if len(self._jobs) >= self._waiting or size > self._room:
            return False
        self._room -= size
        self._jobs.append((job, size))
        return True

    async def idle(self) -> None:
        """Returns once there is nothing to do."""
        while self._tasks:
            await asyncio.wait(tuple(self._tasks))

    async def aclose(self) -> None:
        """Drops what waits, and cancels what is worked on."""
        self._closed = True
        self._jobs.clear()
        tasks = tuple(self._tasks)
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    def _begin(self, job: Job) -> None:
        task = asyncio.create_task(self._run(job))
        self._tasks.add(task)
        task.add_done_callback(self._over)

    async def _run(self, job: Job) -> None:
        async with asyncio.timeout(self._within_s):
            await job()

    def _over(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            _log.error("what is done beside a request failed: %s", error or type(error).__name__, exc_info=error)
        if self._jobs and not self._closed:
            job, size = self._jobs.popleft()
            self._room += size
            self._begin(job)
