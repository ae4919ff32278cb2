"""Single flight: of equal requests at the same time one is worked on, and the others wait for what it brings.

Whoever comes first leads. What the leader lands, all who wait get. A leader that fails or goes away lets the one that
has waited longest lead; its failure is nobody else's. A leader that finds that its answer is not to be shared sends
everybody on their own way, so that they do not go one after the other.
"""

from __future__ import annotations

import asyncio
import enum
from collections import deque
from typing import Generic, TypeVar

V = TypeVar("V")


class _Word(enum.Enum):
    """What one who waits is told instead of a value."""

    LEAD = "lead"
    ALONE = "alone"


class Seat(Generic[V]):
    """One request's part in a flight.

    ``value`` is what somebody else's request brought; None: this one does the work. Then it calls ``land``, ``leave``
    or ``disband``; the first of them counts, and a ``leave`` in a ``finally`` is always right. ``leads``: others may
    be waiting for it; without, the three do nothing.
    """

    __slots__ = ("_flights", "_key", "leads", "value")

    def __init__(self, flights: Flights[V], key: bytes, value: V | None, leads: bool) -> None:
        self._flights = flights
        self._key = key
        self.value = value
        self.leads = leads

    def land(self, value: V) -> None:
        """Everybody who waits gets ``value``."""
        if self._done():
            self._flights.ended(self._key, value)

    def leave(self) -> None:
        """It failed, or was given up: the next one leads."""
        if self._done():
            self._flights.passed_on(self._key)

    def disband(self) -> None:
        """What comes is not to be shared: everybody who waits does the work alone."""
        if self._done():
            self._flights.ended(self._key, _Word.ALONE)

    def _done(self) -> bool:
        led, self.leads = self.leads, False
        return led


class Flights(Generic[V]):
    """All flights of one process, by key. For one event loop; values are not None."""

    def __init__(self) -> None:
        self._waiting: dict[bytes, deque[asyncio.Future[V | _Word]]] = {}

    def __len__(self) -> int:
        return len(self._waiting)

    def lead(self, key: bytes) -> Seat[V] | None:
        """A seat that leads, at once; None when somebody else does."""
        if key in self._waiting:
            return None
        self._waiting[key] = deque()
        return Seat(self, key, None, True)

    async def seat(self, key: bytes, within_s: float) -> Seat[V]:
        """A seat that leads when nobody does, else what the leader brings, waited for at most ``within_s`` seconds:
        then one that neither leads nor has a value. Cancelled at any moment, it leaves the flight in order."""
        waiting = self._waiting.get(key)
        if waiting is None:
            self._waiting[key] = deque()
            return Seat(self, key, None, True)
        told: asyncio.Future[V | _Word] = asyncio.get_running_loop().create_future()
        waiting.append(told)
        try:
            # A future that ``wait`` gave up on is not cancelled: what was told meanwhile is still in it.
            await asyncio.wait((told,), timeout=within_s)
        except asyncio.CancelledError:
            if told.done() and told.result() is _Word.LEAD:
                self.passed_on(key)
            told.cancel()
            raise
        if not told.done():
            told.cancel()
            return Seat(self, key, None, False)
        value = told.result()
        if isinstance(value, _Word):
            return Seat(self, key, None, value is _Word.LEAD)
        return Seat(self, key, value, False)

    def ended(self, key: bytes, value: V | _Word) -> None:
        """For a ``Seat`` that leads: the flight is over, and everybody is told ``value``."""
        for told in self._waiting.pop(key):
            if not told.done():
                told.set_result(value)

    def passed_on(self, key: bytes) -> None:
        """For a ``Seat`` that leads: the first who still waits leads; the flight is over when nobody does."""
        waiting = self._waiting[key]
        while waiting:
            told = waiting.popleft()
            if not told.done():
                told.set_result(_Word.LEAD)
                return
        del self._waiting[key]
