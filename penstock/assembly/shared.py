"""Places that several workers share: the supervisor holds them, workers ask for them over their links.

A place is named by the number of the question that it answered. Whatever a worker holds or waits for when its link
ends is given back.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol

from penstock.assembly.asking import Asker
from penstock.assembly.link import Acquire, Release, ToldOfSupervisor
from penstock.core.errors import OUT_OF_RESOURCES, PenstockError
from penstock.core.policy import Queue
from penstock.gateway.place import Place, Places

# What the supervisor may take beyond the wait that the queue allows, which it counts itself.
_MARGIN_S = 5.0


class Desk:
    """The supervisor's side, for one worker: what it holds of ``places``."""

    def __init__(self, places: Places) -> None:
        self._places = places
        self._held: dict[int, Place] = {}
        self.waiting = 0

    @property
    def held(self) -> int:
        """Places that it holds; ``waiting`` are its requests for one."""
        return len(self._held)

    async def acquire(self, number: int, asked: Acquire) -> None:
        """Returns once the worker holds a place under this number. Raises as ``Places.acquire`` does."""
        self.waiting += 1
        try:
            self._held[number] = await self._places.acquire(
                asked.service, asked.project, asked.priority, asked.queue, asked.concurrency
            )
        finally:
            self.waiting -= 1

    def release(self, number: int) -> None:
        """The worker gives it back. Nothing happens when it holds none of this number."""
        if (place := self._held.pop(number, None)) is not None:
            place.release()

    def close(self) -> None:
        """The worker is gone."""
        for number in tuple(self._held):
            self.release(number)


class Waiting(Protocol):
    """Who knows how many wait."""

    def waiting(self) -> Mapping[str, int]: ...


class RemotePlaces:
    """The worker's side. What has no bound is held in ``here`` and never asked for."""

    def __init__(self, asker: Asker[ToldOfSupervisor], send: Callable[[Release], None], here: Places) -> None:
        self._asker = asker
        self._send = send
        self._here = here

    async def acquire(
        self, service: str, project: str, priority: int, queue: Queue, concurrency: int | None
    ) -> Place:
        """As ``Places`` has it. Raises ``PenstockError`` also when the supervisor is gone (STOPPING) or stuck."""
        if concurrency is None:
            return await self._here.acquire(service, project, priority, queue, None)
        question = Acquire(service, project, priority, queue, concurrency)
        try:
            told = await self._asker.ask(question, queue.wait_s + _MARGIN_S)
        except TimeoutError:
            raise PenstockError(
                OUT_OF_RESOURCES,
                "The supervisor process did not say whether there is a place in the queue. Try again; when this "
                "stays, look for what keeps its machine busy.",
                retry_after=1.0,
            ) from None
        return _Held(told.id, self._send)


class _Held:
    __slots__ = ("_number", "_send")

    def __init__(self, number: int, send: Callable[[Release], None]) -> None:
        self._number: int | None = number
        self._send = send

    def release(self) -> None:
        number, self._number = self._number, None
        if number is not None:
            self._send(Release(number))


def depths(places: Waiting) -> Mapping[tuple[str, ...], float]:
    """How many requests wait in each service, as a gauge tells it."""
    return {(service,): float(count) for service, count in places.waiting().items()}
