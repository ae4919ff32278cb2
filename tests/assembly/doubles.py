"""Books that are not kept, of workers that have names and share counters in memory; and links to such workers."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any, cast

from penstock.access.book import Book
from penstock.access.config import AccessSettings
from penstock.access.counters_memory import MemoryCounters
from penstock.assembly.asking import Asker
from penstock.assembly.books import Books
from penstock.assembly.flights import RemoteFlights
from penstock.assembly.gathering import Gathering
from penstock.assembly.link import Begin, Denied, Entrance, Told, ToldOfSupervisor, ToWorker, framed, worker_end
from penstock.assembly.shared import RemotePlaces
from penstock.assembly.talk import Office, Talk
from penstock.caches.config import CacheSettings
from penstock.caches.flight import Flights
from penstock.core.accounts import Directory
from penstock.core.caching import Entry
from penstock.core.clock import Clock, SystemClock
from penstock.core.leases import Granted, Need, Refused
from penstock.observe.config import ObserveSettings
from penstock.observe.totals import Report
from penstock.routing.places import LocalPlaces
from penstock.store.config import StateSettings


class StillAccounting:
    """Names workers by number, and counts for them; notes who has ended."""

    def __init__(self, clock: Clock) -> None:
        self.begun = 0
        self.ends: list[str] = []
        self.book = Book()
        self.counters = MemoryCounters(self.book, clock)

    def first(self, index: int) -> tuple[str, Sequence[bytes]]:
        self.begun += 1
        owner = f"w-{self.begun}"
        begin = Begin(
            "g", owner, 0, "", "", AccessSettings(), StateSettings(), ObserveSettings(), CacheSettings(), None
        )
        return owner, [framed(begin), framed(Entrance(Directory(version=3), (), (), {}))]

    async def reserve(self, owner: str, lease: str, needs: Sequence[Need]) -> Granted | Refused:
        return await self.counters.reserve(owner, lease, needs)

    async def settle(self, owner: str, lease: str, used: Mapping[str, int]) -> None:
        await self.counters.settle(owner, lease, used)

    async def ended(self, owner: str) -> None:
        self.ends.append(owner)
        await self.counters.end(owner)


class StillDesks:
    """Desks that nobody asks."""

    def ended(self, owner: str) -> None:
        """Nothing was open."""


class StillBooks:
    """Books of which only the accounting is asked."""

    def __init__(self, clock: Clock | None = None) -> None:
        self.accounting = StillAccounting(clock or SystemClock())
        self.desks = StillDesks()

    def measured(self) -> Report:
        """Nothing."""
        return Report()

    def as_books(self) -> Books:
        """For who takes whole ones."""
        return cast(Books, self)


async def refused(*_: object) -> Any:
    """What an office is not asked for."""
    raise AssertionError("nobody asks for that here")


class Far:
    """One worker's end: places that the supervisor holds, and seats."""

    def __init__(self) -> None:
        self.here = LocalPlaces(SystemClock())
        self.link = worker_end(self._hear)
        self.asker: Asker[ToldOfSupervisor] = Asker(self.link.send)
        self.places = RemotePlaces(self.asker, self.link.send, self.here)
        self.heard: list[Entry] = []
        self.beyond = RemoteFlights(self.asker, self.link.send, lambda: self.link.waiting, self.heard.append)
        self.flights: Flights[Entry] = Flights(self.beyond)

    def _hear(self, message: ToWorker) -> None:
        assert isinstance(message, Told | Denied)
        self.asker.hear(message)


@contextlib.asynccontextmanager
async def workers(
    places: LocalPlaces, count: int, flights: Flights[bytes] | None = None
) -> AsyncIterator[list[tuple[Talk, Far]]]:
    """As many, with the supervisor's end of each link."""
    near = Flights[bytes]() if flights is None else flights
    office = Office(Gathering((), {}), places, refused, str, StillBooks().as_books(), refused, near)
    async with contextlib.AsyncExitStack() as held:
        pairs = []
        for index in range(count):
            ours, theirs = socket.socketpair()
            talk, far = Talk(index, 1, office, lambda: None), Far()
            await talk.open(ours)
            await far.link.open(theirs)
            held.push_async_callback(talk.aclose)
            held.push_async_callback(far.link.aclose)
            pairs.append((talk, far))
        yield pairs
