"""Single flight: of equal requests at the same time one is worked on, and the others wait for what it brings.

Whoever comes first leads. What the leader lands, all who wait get. A leader that fails or goes away lets the one that
has waited longest lead; its failure is nobody else's. A leader that finds that its answer is not to be shared sends
everybody on their own way, so that they do not go one after the other.

Processes that serve as one have flights ``beyond`` their own: who leads in one takes a seat there for all of it.
"""

from __future__ import annotations

import asyncio
import enum
from collections import deque
from typing import Generic, Protocol, TypeVar

V = TypeVar("V")


class _Word(enum.Enum):
    """What one who waits is told instead of a value."""

    LEAD = "lead"
    ALONE = "alone"


class Part(Protocol[V]):
    """What a ``Seat`` is to whoever sits on it."""

    @property
    def value(self) -> V | None: ...

    @property
    def leads(self) -> bool: ...

    def land(self, value: V) -> None: ...

    def leave(self) -> None: ...

    def disband(self) -> None: ...


class Beyond(Protocol[V]):
    """Flights that several processes take part in."""

    async def seat(self, key: bytes, within_s: float) -> Part[V]:
        """As ``Flights`` has it; whoever cannot be asked has a seat that neither leads nor has a value."""


class Seat(Generic[V]):
    """One request's part in a flight.

    ``value`` is what somebody else's request brought; None: this one does the work. Then it calls ``land``, ``leave``
    or ``disband``; the first of them counts, and a ``leave`` in a ``finally`` is always right. ``leads``: others may
    be waiting for it; without, the three do nothing. ``beyond`` does them, too.
    """

    __slots__ = ("_beyond", "_flights", "_key", "leads", "value")

    def __init__(
        self, flights: Flights[V], key: bytes, value: V | None, leads: bool, beyond: Part[V] | None = None
    ) -> None:
        self._beyond = beyond
        self._flights = flights
        self._key = key
        self.value = value
        self.leads = leads

    def land(self, value: V) -> None:
        """Everybody who waits gets ``value``."""
        if self._done():
            self._flights.ended(self._key, value)
            if self._beyond is not None:
                self._beyond.land(value)

    def leave(self) -> None:
        """It failed, or was given up: the next one leads."""
        if self._done():
            self._flights.passed_on(self._key)
            if self._beyond is not None:
                self._beyond.leave()

    def disband(self) -> None:
        """What comes is not to be shared: everybody who waits does the work alone."""
        if self._done():
            self._flights.ended(self._key, _Word.ALONE)
            if self._beyond is not None:
                self._beyond.disband()

    def _done(self) -> bool:
        led, self.leads = self.leads, False
        return led


class Flights(Generic[V]):
    """All flights of one process, by key. For one event loop; values are not None."""

    def __init__(self, beyond: Beyond[V] | None = None) -> None:
        self._beyond = beyond
        self._waiting: dict[bytes, deque[asyncio.Future[V | _Word]]] = {}

    def __len__(self) -> int:
        return len(self._waiting)

    def waiting(self, key: bytes) -> int:
        """How many wait for what the leader brings."""
        return sum(not told.done() for told in self._waiting.get(key, ()))

    def lead(self, key: bytes) -> Seat[V] | None:
        """A seat that leads in this process, at once; None when somebody else does."""
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
            return await self._leading(key, within_s)
        loop = asyncio.get_running_loop()
        until = loop.time() + within_s
        told: asyncio.Future[V | _Word] = loop.create_future()
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
        if value is _Word.LEAD:
            return await self._leading(key, until - loop.time())
        return Seat(self, key, None if isinstance(value, _Word) else value, False)

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

    async def _leading(self, key: bytes, within_s: float) -> Seat[V]:
        """For one who leads here: the seat, after what others lead elsewhere has been waited for."""
        seat = Seat(self, key, None, True)
        if self._beyond is None or within_s <= 0.0:
            return seat
        try:
            part = await self._beyond.seat(key, within_s)
        except BaseException:
            seat.leave()
            raise
        if part.value is not None:
            seat.land(part.value)
            return Seat(self, key, part.value, False)
        return Seat(self, key, None, True, part)
