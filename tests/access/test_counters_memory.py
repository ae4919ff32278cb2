"""Counters in memory, on a clock that the tests turn."""

from __future__ import annotations

from penstock.access.book import Book
from penstock.access.counters_memory import MemoryCounters
from penstock.core.leases import Counters
from tests.contracts.counters import CountersContract


class Turned:
    """A clock that stands still."""

    def __init__(self) -> None:
        self.time = 1_760_000_000.0

    def now(self) -> float:
        return self.time

    def wall(self) -> float:
        return self.time


class TestMemoryCounters(CountersContract):
    async def make(self) -> Counters:
        self.clock = Turned()
        return MemoryCounters(Book(), self.clock)

    async def pass_time(self, seconds: float) -> None:
        self.clock.time += seconds
