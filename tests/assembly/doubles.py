"""Books that are not kept: workers have names, and share counters in memory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import cast

from penstock.access.book import Book
from penstock.access.config import AccessSettings
from penstock.access.counters_memory import MemoryCounters
from penstock.assembly.books import Books
from penstock.assembly.link import Begin, Entrance, framed
from penstock.caches.config import CacheSettings
from penstock.core.accounts import Directory
from penstock.core.clock import Clock, SystemClock
from penstock.core.leases import Granted, Need, Refused
from penstock.observe.config import ObserveSettings
from penstock.observe.totals import Report
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
