"""Counters in the memory of this process, for the one worker there is or behind the supervisor's link."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from penstock.access.book import Book
from penstock.core.clock import Clock
from penstock.core.leases import Granted, Need, Refused


class MemoryCounters:
    """``Counters`` on a book. Calls return without waiting and never fail; only one event loop may make them."""

    def __init__(self, book: Book, clock: Clock) -> None:
        self._book = book
        self._wall = clock.wall

    async def reserve(self, owner: str, lease: str, needs: Sequence[Need]) -> Granted | Refused:
        """As the port has it."""
        return self._book.reserve(owner, lease, needs, self._wall())

    async def settle(self, owner: str, lease: str, used: Mapping[str, int]) -> None:
        """As the port has it."""
        self._book.settle(owner, lease, used)

    async def end(self, owner: str) -> int:
        """As the port has it."""
        return self._book.end(owner)

    async def begin(self, counters: Mapping[str, tuple[int, float]]) -> None:
        """As the port has it."""
        self._book.begin(counters)

    async def aclose(self) -> None:
        """The book stays as it is."""
