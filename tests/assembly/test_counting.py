"""Counting over a link keeps the law of counters, and a link or a supervisor that fails leaves nothing reserved."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Mapping, Sequence

import pytest

from penstock.access.book import Book
from penstock.assembly.asking import Asker
from penstock.assembly.counting import LinkedCounting, OwnCounting
from penstock.assembly.gathering import Gathering
from penstock.assembly.link import Begin, Denied, Text, Told, ToldOfSupervisor, ToWorker, worker_end
from penstock.assembly.talk import Office, Talk
from penstock.caches.flight import Flights
from penstock.core.clock import Clock, SystemClock
from penstock.core.errors import COUNTERS_UNAVAILABLE, STOPPING, PenstockError
from penstock.core.leases import Counters, Granted, Need, Refused
from penstock.routing.places import LocalPlaces
from tests.assembly.doubles import StillAccounting, StillBooks, refused
from tests.contracts.counters import CountersContract, held, kept, sliding
from tests.control.timing import turns


class Far:
    """A worker's end."""

    def __init__(self) -> None:
        self.owner = ""
        self.link = worker_end(self._hear)
        self.asker: Asker[ToldOfSupervisor] = Asker(self.link.send)
        self.counting = LinkedCounting(self.asker, self.link.send)

    def _hear(self, message: ToWorker) -> None:
        if isinstance(message, Begin):
            self.owner = message.owner
        elif isinstance(message, Told | Denied):
            self.asker.hear(message)


class Workers:
    """``Counters``, each owner of which is a worker with a link of its own to one supervisor."""

    def __init__(self, clock: Clock) -> None:
        self.accounting = StillAccounting(clock)
        books = StillBooks(clock)
        books.accounting = self.accounting
        self._office = Office(
            Gathering((), {}), LocalPlaces(clock), refused, str, books.as_books(), refused, Flights()
        )
        self._ends: dict[str, tuple[Talk, Far]] = {}

    async def far(self, owner: str) -> Far:
        if owner not in self._ends:
            ours, theirs = socket.socketpair()
            talk, far = Talk(0, 1, self._office, lambda: None), Far()
            self._ends[owner] = talk, far
            await talk.open(ours)
            await far.link.open(theirs)
            talk.begin()
        return self._ends[owner][1]

    async def reserve(self, owner: str, lease: str, needs: Sequence[Need]) -> Granted | Refused:
        return await (await self.far(owner)).counting.reserve(lease, needs)

    async def settle(self, owner: str, lease: str, used: Mapping[str, int]) -> None:
        far = await self.far(owner)
        far.counting.settle(lease, used)
        # What is said on one link is heard in order.
        await far.asker.ask(Text(), 10.0)

    async def end(self, owner: str) -> int:
        if owner not in self._ends:
            return 0
        talk, far = self._ends.pop(owner)
        open_before = self.leases()
        await far.link.aclose()
        await talk.aclose()
        return open_before - self.leases()

    def leases(self) -> int:
        """That are open."""
        return sum(1 for _ in self.accounting.book.open())

    async def begin(self, counters: Mapping[str, tuple[int, float]]) -> None:
        await self.accounting.counters.begin(counters)

    async def aclose(self) -> None:
        for owner in tuple(self._ends):
            await self.end(owner)


class Turned:
    """A clock that stands still."""

    def __init__(self) -> None:
        self.time = 1_760_000_000.0

    def now(self) -> float:
        return self.time

    def wall(self) -> float:
        return self.time


class TestLinked(CountersContract):
    async def make(self) -> Counters:
        self.clock = Turned()
        return Workers(self.clock)

    async def pass_time(self, seconds: float) -> None:
        self.clock.time += seconds


@pytest.fixture
async def workers() -> AsyncIterator[Workers]:
    made = Workers(SystemClock())
    yield made
    await made.aclose()


def stand(workers: Workers) -> list[int]:
    """What is reserved or used of everything."""
    return [counter.used for counter in workers.accounting.book._counters.values()]


async def test_a_worker_that_is_gone_gives_back_what_it_held(workers: Workers) -> None:
    for owner in ("a", "b"):
        await workers.reserve(owner, "l", [held(4), kept(4)])
    assert stand(workers) == [8, 8]
    await workers.end("a")
    assert stand(workers) == [4, 4]


async def test_one_that_leaves_while_it_asks_holds_nothing(workers: Workers) -> None:
    far = await workers.far("a")
    for turn in range(12):
        asking = asyncio.create_task(far.counting.reserve(f"l{turn}", [held(1), kept(1)]))
        await turns(turn)
        asking.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await asking
        # As a lease does that has not heard whether it was granted.
        far.counting.settle(f"l{turn}", {held(1).counter: 0, kept(1).counter: 0})
        await far.asker.ask(Text(), 10.0)
        assert sum(stand(workers)) == 0
        assert workers.leases() == 0


async def test_a_supervisor_that_does_not_say_is_not_waited_for(
    workers: Workers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("penstock.assembly.counting._ANSWERED_WITHIN_S", 0.02)
    stuck = asyncio.Event()

    async def reserve(owner: str, lease: str, needs: Sequence[Need]) -> Granted | Refused:
        await stuck.wait()
        raise AssertionError

    monkeypatch.setattr(workers.accounting, "reserve", reserve)
    with pytest.raises(PenstockError) as caught:
        await workers.reserve("a", "l", [kept(1)])
    assert caught.value.fault is COUNTERS_UNAVAILABLE
    assert caught.value.retry_after is not None


async def test_what_the_supervisors_counters_say_is_said_to_the_worker(
    workers: Workers, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def reserve(owner: str, lease: str, needs: Sequence[Need]) -> Granted | Refused:
        raise PenstockError(COUNTERS_UNAVAILABLE, "Redis is away.", retry_after=3.0)

    monkeypatch.setattr(workers.accounting, "reserve", reserve)
    with pytest.raises(PenstockError, match="Redis is away") as caught:
        await workers.reserve("a", "l", [kept(1)])
    assert (caught.value.fault, caught.value.retry_after) == (COUNTERS_UNAVAILABLE, 3.0)


async def test_without_a_supervisor_nothing_is_granted(workers: Workers) -> None:
    far = await workers.far("a")
    far.asker.broken()
    with pytest.raises(PenstockError) as caught:
        await far.counting.reserve("l", [kept(1)])
    assert caught.value.fault is STOPPING
    far.counting.settle("l", {})
    await far.counting.aclose()


async def test_the_only_worker_counts_by_itself_and_at_once() -> None:
    clock = Turned()
    book = Book()
    counting = OwnCounting(book, "w", clock)
    needs = [sliding(4), held(1), kept(6)]
    assert isinstance(await counting.reserve("l", needs), Granted)
    assert isinstance(await counting.reserve("m", needs), Refused)
    counting.settle("l", {needs[0].counter: 1, needs[2].counter: 2})
    assert [(owner, lease) for owner, lease, _ in book.open()] == []
    granted = await counting.reserve("m", needs)
    assert [level.remaining for level in granted.levels] == [5, 9, 2]
    await counting.aclose()
