"""Places: the admission queue at work. One object holds the places of every service of one process."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from penstock.core.clock import Clock
from penstock.core.errors import QUEUE_FULL, QUEUE_TIMEOUT, SHED, PenstockError
from penstock.core.policy import Queue
from penstock.routing.queue import Entry, Full, WaitQueue

_LONGEST_RETRY_S = 60.0


class LocalPlaces:
    """Belongs to one event loop. Places and waits are counted per service, by name."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._rooms: dict[str, _Room] = {}

    async def acquire(
        self, service: str, project: str, priority: int, queue: Queue, concurrency: int | None
    ) -> Place:
        """A place; at once when there is room, else waited for, for at most ``queue.wait_s`` seconds.

        ``concurrency`` None counts the place and never waits. A larger or smaller one than before holds for everybody
        from now on. Raises ``PenstockError``: QUEUE_FULL, SHED, QUEUE_TIMEOUT. A place that is granted to a waiter
        that has just been cancelled goes to the next.
        """
        room = self._rooms.get(service)
        if room is None:
            room = self._rooms[service] = _Room(service, self._clock)
        room.concurrency = concurrency
        if concurrency is None or (room.held < concurrency and not room.queue.count):
            room.held += 1
            return Place(room)
        return await room.waited(project, priority, queue)

    def held(self) -> Mapping[str, int]:
        """Places held, by service."""
        return {name: room.held for name, room in self._rooms.items()}

    def waiting(self) -> Mapping[str, int]:
        """Requests waiting, by service."""
        return {name: room.queue.count for name, room in self._rooms.items()}


class Place:
    """One place, held until ``release``."""

    __slots__ = ("_room",)

    def __init__(self, room: _Room) -> None:
        self._room: _Room | None = room

    def release(self) -> None:
        """Gives it back; the next that waits has it at once. Idempotent."""
        room, self._room = self._room, None
        if room is not None:
            room.left()


class _Room:
    __slots__ = ("_between_s", "_clock", "_last", "_service", "_timer", "_waiters", "concurrency", "held", "queue")

    def __init__(self, service: str, clock: Clock) -> None:
        self._service = service
        self._clock = clock
        self._waiters: dict[int, asyncio.Future[Place]] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._last: float | None = None
        self._between_s: float | None = None
        self.concurrency: int | None = None
        self.held = 0
        self.queue = WaitQueue()

    async def waited(self, project: str, priority: int, queue: Queue) -> Place:
        # A larger concurrency, or none, may have made room for those who came before.
        self._admit()
        offered = self.queue.offer(project, priority, self._clock.now() + queue.wait_s, queue.length)
        if isinstance(offered, Full):
            raise self._full(queue)
        if offered.shed is not None:
            self._refuse(offered.shed, self._shed() if offered.lower else self._full(queue))
        entry = offered.entry
        future: asyncio.Future[Place] = asyncio.get_running_loop().create_future()
        self._waiters[entry.number] = future
        self._watch()
        self._admit()
        try:
            return await future
        except asyncio.CancelledError:
            if future.done() and not future.cancelled() and future.exception() is None:
                future.result().release()
            raise
        finally:
            self.queue.remove(entry)
            self._waiters.pop(entry.number, None)

    def left(self) -> None:
        now = self._clock.now()
        if self._last is not None:
            passed = now - self._last
            self._between_s = passed if self._between_s is None else 0.8 * self._between_s + 0.2 * passed
        self._last = now
        self.held -= 1
        self._admit()

    def _admit(self) -> None:
        while self.concurrency is None or self.held < self.concurrency:
            entry = self.queue.take()
            if entry is None:
                return
            future = self._waiters.pop(entry.number, None)
            if future is not None and not future.done():
                self.held += 1
                future.set_result(Place(self))

    def _watch(self) -> None:
        if self._timer is None and (soonest := self.queue.soonest()) is not None:
            wait = max(0.0, soonest - self._clock.now())
            self._timer = asyncio.get_running_loop().call_later(wait, self._expire)

    def _expire(self) -> None:
        self._timer = None
        for entry in self.queue.expired(self._clock.now()):
            self._refuse(
                entry,
                PenstockError(
                    QUEUE_TIMEOUT,
                    f"No place in the service '{self._service}' came free in time. Try again later, or raise its "
                    "`queue: wait_s` or `concurrency`.",
                    retry_after=self._retry_after(),
                ),
            )
        self._watch()

    def _refuse(self, entry: Entry, error: PenstockError) -> None:
        future = self._waiters.pop(entry.number, None)
        if future is not None and not future.done():
            future.set_exception(error)

    def _full(self, queue: Queue) -> PenstockError:
        return PenstockError(
            QUEUE_FULL,
            f"The service '{self._service}' works on as many requests as it can, and {queue.length} wait already. "
            "Try again later, or raise its `queue: length`.",
            retry_after=self._retry_after(),
        )

    def _shed(self) -> PenstockError:
        return PenstockError(
            SHED,
            f"The queue of the service '{self._service}' is full, and a request of a higher priority has come. Try "
            "again later.",
            retry_after=self._retry_after(),
        )

    def _retry_after(self) -> float:
        """When the queue will have moved on by its present length, at its recent pace."""
        wait = (self.queue.count + 1) * self._between_s if self._between_s is not None else 1.0
        return min(_LONGEST_RETRY_S, max(1.0, wait))
