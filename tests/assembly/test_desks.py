"""Desks over the link: what a worker asks and says, and what the supervisor makes of it."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest

from penstock.assembly import desks as client
from penstock.assembly.asking import Asker
from penstock.assembly.desk_office import DeskOffice, disowning
from penstock.assembly.desks import RemoteDesks
from penstock.assembly.gathering import Gathering
from penstock.assembly.link import Ask, Link, ToldOfSupervisor, ToSupervisor, ToWorker, worker_end
from penstock.assembly.metrics import ROWS
from penstock.assembly.talk import Office, Talk
from penstock.caches.config import CacheSettings
from penstock.caches.flight import Flights
from penstock.caches.metrics import SEMANTIC_UNSAID
from penstock.control.accounts.caches import Invalidate
from penstock.core.caching import Invalidation, Learnt
from penstock.core.clock import SystemClock
from penstock.core.errors import PenstockError
from penstock.observe.totals import Totals
from penstock.routing.places import LocalPlaces
from tests.assembly.doubles import StillBooks, refused
from tests.control.semantic.house import ask, entry, taught

CLEAN = "How do I clean a kite?"


class Store:
    """Where invalidations go, and what workers gave exactly."""

    def __init__(self) -> None:
        self.written: list[tuple[str, str, str]] = []
        self.given: dict[tuple[str, str], str] = {}

    async def gave(self, request_id: str, project: str) -> str | None:
        return self.given.get((request_id, project))

    async def invalidate(self, key: str, project: str, key_id: str) -> None:
        self.written.append((key, project, key_id))


class Worker:
    """One end of a link, and the desks that it is told of."""

    def __init__(self) -> None:
        self.link: Link[ToWorker, ToSupervisor] = worker_end(self._hear)
        self.asker: Asker[ToldOfSupervisor] = Asker(self.link.send)
        self.meter = Totals(ROWS)
        self.desks = RemoteDesks(self.asker, self.link.send, lambda: self.link.waiting, self.meter)

    def _hear(self, message: ToWorker) -> None:
        if not isinstance(message, Ask) and hasattr(message, "id"):
            self.asker.hear(message)  # type: ignore[arg-type]

    def unsaid(self) -> float:
        return sum(each.values[0] for each in self.meter.report().metrics[SEMANTIC_UNSAID.name])


@pytest.fixture
def store() -> Store:
    return Store()


@pytest.fixture
async def office(tmp_path: Path, store: Store) -> AsyncIterator[DeskOffice]:
    made = DeskOffice(
        tmp_path / "semantic",
        SystemClock(),
        cache=CacheSettings(),
        gateway="g",
        gave=store.gave,
        invalidate=store.invalidate,
    )
    yield made
    await made.aclose()


@pytest.fixture
async def worker(office: DeskOffice) -> AsyncIterator[Worker]:
    books = StillBooks()
    books.desks = office
    places = LocalPlaces(SystemClock())
    whole = Office(Gathering((), {}), places, refused, str, books.as_books(), refused, Flights())
    talk, found = Talk(0, 1, whole, lambda: None), Worker()
    ours, theirs = socket.socketpair()
    await talk.open(ours)
    talk.begin()
    await found.link.open(theirs)
    yield found
    await found.link.aclose()
    await talk.aclose()


async def kept(worker: Worker, text: str, request: str = "r") -> bytes:
    """The nearest answer, once there is one."""
    deadline = time.monotonic() + 5
    while not (told := await worker.desks.seek(ask(text, request=request))).entry:
        assert time.monotonic() < deadline
    return told.entry


async def begun(worker: Worker) -> None:
    """The first who asks waits until desks are loaded, which may take longer than a question may."""
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        try:
            await worker.desks.seek(ask(CLEAN))
        except PenstockError:
            continue
        return


async def test_what_a_worker_keeps_is_found_and_gone_when_it_is_invalidated(
    worker: Worker, office: DeskOffice
) -> None:
    await begun(worker)
    told = await worker.desks.seek(ask(CLEAN))
    assert told.reason == "alone"
    worker.desks.learn(Learnt(told.ticket, None))
    now = time.time()
    worker.desks.keep(taught(CLEAN, now))
    assert await kept(worker, "How can I clean a kite?") == taught(CLEAN, now).entry
    office.invalidate((Invalidation(scope="project", value="p1", at=now + 1),))
    assert (await worker.desks.seek(ask(CLEAN))).entry == b""
    assert worker.unsaid() == 0


async def test_nothing_is_loaded_before_somebody_asks(office: DeskOffice) -> None:
    office.learn(Learnt("a.1", True))
    office.ended("w")
    office.invalidate((Invalidation(scope="all", at=1.0),))
    assert office.figures() == ()
    assert office.measured() == {}
    assert office._loading is None


async def test_what_an_equal_request_got_is_disowned_too(worker: Worker, store: Store) -> None:
    key = entry(CLEAN, 0).key.hex()
    store.given["r7", "p1"] = key
    assert await worker.desks.wrong("r8", "p1") is False
    assert await worker.desks.wrong("r7", "p2") is False
    assert store.written == []
    assert await worker.desks.wrong("r7", "p1", "key_1") is True
    assert store.written == [(key, "p1", "key_1")]
    asked = disowning(key, "p1", "key_1")
    assert msgspec.json.decode(asked.body, type=Invalidate) == Invalidate(scope="key", value=key, project="p1")
    assert asked.actor.permissions == {"caches:write"}


async def test_a_link_that_is_full_is_counted_and_not_waited_for() -> None:
    said: list[object] = []
    meter = Totals(ROWS)
    waiting = 0
    asker: Asker[ToldOfSupervisor] = Asker(said.append)
    desks = RemoteDesks(asker, said.append, lambda: waiting, meter)
    desks.keep(taught(CLEAN, 0.0))
    waiting = 9 << 20
    desks.keep(taught(CLEAN, 0.0))
    desks.learn(Learnt("a.1", True))
    waiting = 25 << 20
    desks.learn(Learnt("a.2", True))
    assert len(said) == 2
    assert sum(each.values[0] for each in meter.report().metrics[SEMANTIC_UNSAID.name]) == 2


async def test_a_supervisor_that_does_not_say_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "WITHIN_S", 0.01)
    asker: Asker[ToldOfSupervisor] = Asker(lambda _: None)
    desks = RemoteDesks(asker, lambda _: None, lambda: 0, Totals(ROWS))
    with pytest.raises(PenstockError, match="supervisor"):
        await desks.seek(ask(CLEAN))
    asker.broken()
    with pytest.raises(PenstockError, match="shutting down"):
        await asyncio.wait_for(desks.seek(ask(CLEAN)), 5)
