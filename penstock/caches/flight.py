"""Single flight: of equal requests at the same time one is worked on, and the others wait for what it brings.

Whoever comes first leads. What a leader lands, all who wait get. One that goes away lets the one that has waited
longest lead, and so does the first that fails; its failure is nobody else's. After a second failure, and when a
leader finds that its answer is not to be shared, all go their own ways, so that they do not go one after the other.
Who has waited long enough leads beside the one that is slow: one of all, and the others wait for either.

Processes that serve as one have flights ``beyond`` their own: who leads in one takes a seat there for all of it.
"""

from __future__ import annotations

import asyncio
import enum
import math
from collections.abc import Callable
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

    def fail(self) -> None: ...

    def disband(self) -> None: ...


class Beyond(Protocol[V]):
    """Flights that several processes take part in."""

    async def seat(self, key: bytes, within_s: float) -> Part[V]:
        """As ``Flights`` has it; whoever cannot be asked has a seat that neither leads nor has a value."""


class _Flight(Generic[V]):
    """``since`` is when the newest of its leaders began, by the clock of the loop; infinity: it asks ``beyond``."""

    __slots__ = ("beyond", "failed", "leaders", "since", "waiting")

    def __init__(self, since: float) -> None:
        self.waiting: dict[asyncio.Future[V | _Word], None] = {}
        self.beyond: Part[V] | None = None
        self.leaders = 1
        self.failed = False
        self.since = since


class Seat(Generic[V]):
    """One request's part in a flight.

    ``value`` is what somebody else's request brought; None: this one does the work. Then it calls ``land``,
    ``leave``, ``fail`` or ``disband``; the first of them counts, and a ``leave`` in a ``finally`` is always right.
    ``leads``: others may be waiting for it; without, the four do nothing.
    """

    __slots__ = ("_flight", "_flights", "_key", "value")

    def __init__(self, flights: Flights[V], key: bytes, value: V | None, flight: _Flight[V] | None = None) -> None:
        self._flights = flights
        self._key = key
        self._flight = flight
        self.value = value

    @property
    def leads(self) -> bool:
        return self._flight is not None

    def land(self, value: V) -> None:
        """Everybody who waits gets ``value``."""
        self._end(lambda key, flight: self._flights.ended(key, flight, value))

    def leave(self) -> None:
        """It was given up: the next one leads."""
        self._end(self._flights.left)

    def fail(self) -> None:
        """It failed: the next one leads, or, after a second failure, everybody does the work alone."""
        self._end(self._flights.failed)

    def disband(self) -> None:
        """What comes is not to be shared: everybody who waits does the work alone."""
        self._end(lambda key, flight: self._flights.ended(key, flight, _Word.ALONE))

    def _end(self, end: Callable[[bytes, _Flight[V]], None]) -> None:
        flight, self._flight = self._flight, None
        if flight is not None:
            end(self._key, flight)

    async def reach(self, within_s: float) -> Seat[V]:
        """For a seat that leads in this process: the same, once it leads beyond it, too; or one with the value that
        was brought there, which then everybody has."""
        return await self._flights.reached(self, self._key, self._flight, within_s)


class Follower(Generic[V]):
    """One who waits. Its seat has what was brought; or leads, when it is its turn, or the newest leader has had
    ``within_s`` seconds; or does neither. For a running loop."""

    __slots__ = ("_began", "_flight", "_flights", "_key", "_over", "_told", "_within_s")

    def __init__(self, flights: Flights[V], key: bytes, flight: _Flight[V], within_s: float) -> None:
        loop = asyncio.get_running_loop()
        self._flights = flights
        self._key = key
        self._flight = flight
        self._within_s = within_s
        self._began = loop.time()
        self._told: asyncio.Future[V | _Word] = loop.create_future()
        self._over = False
        flight.waiting[self._told] = None

    async def seat(self) -> Seat[V]:
        """Once. Cancelled at any moment, it leaves the flight in order."""
        told, flight, loop = self._told, self._flight, asyncio.get_running_loop()
        left_s = self._within_s
        try:
            while not told.done() and left_s > 0.0:
                # A future that ``wait`` gave up on is not cancelled: what was told meanwhile is still in it.
                await asyncio.wait((told,), timeout=left_s)
                since = max(self._began, flight.since)
                left_s = self._within_s if math.isinf(since) else since + self._within_s - loop.time()
        except asyncio.CancelledError:
            self.leave()
            raise
        self._over = True
        if not told.done():
            del flight.waiting[told]
            flight.leaders += 1
            flight.since = loop.time()
            return Seat(self._flights, self._key, None, flight)
        value = told.result()
        if value is _Word.LEAD:
            return await Seat(self._flights, self._key, None, flight).reach(self._within_s)
        return Seat(self._flights, self._key, None if isinstance(value, _Word) else value)

    def leave(self) -> None:
        """Waits no more, and has no seat. Idempotent; nothing once ``seat`` has returned."""
        over, self._over = self._over, True
        if over:
            return
        if self._told.done():
            if self._told.result() is _Word.LEAD:
                self._flights.left(self._key, self._flight)
        else:
            del self._flight.waiting[self._told]


class Flights(Generic[V]):
    """All flights of one process, by key. For one event loop; values are not None."""

    def __init__(self, beyond: Beyond[V] | None = None) -> None:
        self._beyond = beyond
        self._flights: dict[bytes, _Flight[V]] = {}

    def __len__(self) -> int:
        return len(self._flights)

    def waiting(self, key: bytes) -> int:
        """How many wait for what the leader brings."""
        flight = self._flights.get(key)
        return 0 if flight is None else len(flight.waiting)

    def lead(self, key: bytes) -> Seat[V] | None:
        """A seat that leads in this process, at once; None when somebody else does."""
        if key in self._flights:
            return None
        flight = self._flights[key] = _Flight(asyncio.get_running_loop().time())
        return Seat(self, key, None, flight)

    async def seat(self, key: bytes, within_s: float) -> Seat[V]:
        """A seat that leads when nobody does; else as ``Follower`` has it. Cancelled at any moment, it leaves the
        flight in order."""
        seat = self.lead(key)
        if seat is None:
            return await self.follow(key, within_s).seat()
        return seat if self._beyond is None else await seat.reach(within_s)

    def follow(self, key: bytes, within_s: float) -> Follower[V]:
        """Waits from this moment on for what the leader of ``key`` brings; there is one."""
        return Follower(self, key, self._flights[key], within_s)

    async def reached(self, seat: Seat[V], key: bytes, flight: _Flight[V] | None, within_s: float) -> Seat[V]:
        """For ``Seat``: as ``reach`` has it."""
        if self._beyond is None or flight is None or flight.beyond is not None or within_s <= 0.0:
            return seat
        flight.since = math.inf
        try:
            part = await self._beyond.seat(key, within_s)
        except BaseException:
            seat.leave()
            raise
        finally:
            flight.since = asyncio.get_running_loop().time()
        if part.value is not None:
            seat.land(part.value)
            return Seat(self, key, part.value)
        if self._flights.get(key) is flight:
            flight.beyond = part if part.leads else None
        else:
            # Meanwhile one who led beside this one has landed.
            part.leave()
        return seat

    def ended(self, key: bytes, flight: _Flight[V], value: V | _Word) -> None:
        """For a ``Seat`` that leads: the flight is over, and everybody is told ``value``."""
        if self._flights.get(key) is not flight:
            # Another leader has brought something.
            return
        del self._flights[key]
        for told in flight.waiting:
            if not told.done():
                told.set_result(value)
        if flight.beyond is not None:
            if isinstance(value, _Word):
                flight.beyond.disband()
            else:
                flight.beyond.land(value)

    def left(self, key: bytes, flight: _Flight[V]) -> None:
        """For a ``Seat`` that leads: where nobody else does, the first who waits leads; the flight is over when
        nobody waits."""
        if self._passed(key, flight) and flight.beyond is not None:
            flight.beyond.leave()

    def failed(self, key: bytes, flight: _Flight[V]) -> None:
        """The same for one that has failed."""
        if flight.failed and flight.leaders == 1:
            self.ended(key, flight, _Word.ALONE)
            return
        flight.failed = True
        if self._passed(key, flight) and flight.beyond is not None:
            flight.beyond.fail()

    def _passed(self, key: bytes, flight: _Flight[V]) -> bool:
        """Whether the flight is over now."""
        if self._flights.get(key) is not flight:
            return False
        flight.leaders -= 1
        if flight.leaders:
            return False
        if not flight.waiting:
            del self._flights[key]
            return True
        told = next(iter(flight.waiting))
        del flight.waiting[told]
        flight.leaders, flight.since = 1, asyncio.get_running_loop().time()
        told.set_result(_Word.LEAD)
        return False
