"""The supervisor's books: what workers are told, what budgets begin with, what is left of a worker that is gone."""

from __future__ import annotations

import asyncio
import contextlib
import datetime
from collections.abc import AsyncIterator, Mapping
from pathlib import Path

import msgspec
import pytest

from penstock.access.book import Book
from penstock.access.config import AccessSettings
from penstock.access.counters_memory import MemoryCounters
from penstock.access.limits import Amounts, Rules, needs
from penstock.access.peppers import named
from penstock.assembly.accounting import Accounting
from penstock.assembly.link import Begin, Doors, Entrance, ToWorker
from penstock.caches.config import CacheSettings
from penstock.control.shipping import Shipping, ShippingPace
from penstock.core.accounts import Budget, Change, Directory, Limit, Record, SigningKeys
from penstock.core.errors import IDENTITIES_STALE, JOURNAL_FULL, STORE_UNAVAILABLE, PenstockError
from penstock.core.identity import Principal
from penstock.core.leases import Granted, Hold, Need, Refused
from penstock.core.usage import Entry, Held, Opened, Settled
from penstock.observe.config import ObserveSettings
from penstock.store.config import StateSettings
from penstock.store.database import open_database, sqlite_url
from penstock.store.forgetful import ForgetfulStore
from penstock.store.journal import Journal
from penstock.store.ledger import SqlLedger
from penstock.store.migrations import migrate
from tests.control.shipping_house import FakeStore, cancelled_at_end
from tests.store.records import entry

NOON = datetime.datetime(2026, 3, 18, 12, tzinfo=datetime.UTC).timestamp()
USD = 1_000_000_000
PEPPER = named(b"p" * 32)
MONTH = f"{int(datetime.datetime(2026, 3, 1, tzinfo=datetime.UTC).timestamp())}"
_DECODER: msgspec.msgpack.Decoder[ToWorker] = msgspec.msgpack.Decoder(ToWorker)


class Turned:
    """A clock that a test turns."""

    def __init__(self) -> None:
        self.time = NOON

    def now(self) -> float:
        return self.time

    def wall(self) -> float:
        return self.time


class Scene:
    """One gateway's books over a real ledger. ``told`` is what all workers have been told."""

    def __init__(self, folder: Path, *, alone: bool) -> None:
        self.folder = folder / "journal"
        self.folder.mkdir()
        self.clock = Turned()
        database = open_database(sqlite_url(folder / "state.db"))
        migrate(database, now=NOON)
        self.database = database
        self.ledger = SqlLedger(database)
        self.store = ForgetfulStore(self.clock.wall, lambda _: None)
        self.book = Book()
        self.told: list[ToWorker] = []
        self.accounting = Accounting(
            gateway="g", folder=self.folder, spool=folder / "spool", access=AccessSettings(),
            observe=ObserveSettings(), state=StateSettings(), cache=CacheSettings(), peppers=(PEPPER,),
            ledger=self.ledger, counters=MemoryCounters(self.book, self.clock), book=self.book, alone=alone,
            clock=self.clock, tell=lambda frame: self.told.append(_said(frame)),
        )  # fmt: skip
        nothing = FakeStore()
        self.shipping = Shipping(
            self.folder, self.ledger, nothing, nothing.used, nothing.append_scores, limit_bytes=1 << 20,
            clock=self.clock, follow=self.accounting.follow, orphaned=self.accounting.orphaned, changed=self.accounting.full,
            pace=ShippingPace(tick_s=0.002),
        )  # fmt: skip
        self.accounting.ship_by(self.shipping)

    def put(self, *records: Record) -> Directory:
        self.store.change(Change(version=self.store.version(), put=records))
        return self.store.directory()

    def used(self) -> dict[str, int]:
        """Of every counter."""
        return {name: counter.used for name, counter in self.book._counters.items()}

    def worker(self, index: int = 0) -> tuple[str, Journal]:
        owner, _ = self.accounting.first(index)
        return owner, Journal(self.folder, owner, sync_s=0.5, fdatasync=lambda _: None)


def _said(frame: bytes) -> ToWorker:
    return _DECODER.decode(frame[4:])


@contextlib.asynccontextmanager
async def books(folder: Path, *, alone: bool = False) -> AsyncIterator[Scene]:
    scene = Scene(folder, alone=alone)
    async with cancelled_at_end(scene.shipping.run()):
        yield scene
    scene.database.close()


@pytest.fixture
async def scene(tmp_path: Path) -> AsyncIterator[Scene]:
    async with books(tmp_path) as made:
        yield made


def row(id: str, *, nano: int = 100, at: float = NOON - 10, **fields: object) -> Entry:
    return msgspec.structs.replace(entry(id, cost_nano=nano), received_at=at, **fields)


def budget(id: str = "bud_1", kind: str = "project", subject: str = "*", **fields: object) -> Budget:
    return Budget(id=id, kind=kind, subject=subject, **{"amount_nano": USD, **fields})  # type: ignore[arg-type]


def begun(message: ToWorker) -> Mapping[str, tuple[int, float]]:
    assert isinstance(message, Entrance)
    return message.begun


# -- what workers are told -----------------------------------------------------------------------------------------


async def test_a_new_worker_is_told_its_name_and_who_may_call(scene: Scene) -> None:
    await scene.accounting.changed(scene.put())
    owner, frames = scene.accounting.first(3)
    begin, entrance = map(_said, frames)
    assert isinstance(begin, Begin)
    assert (begin.gateway, begin.owner, begin.folder, begin.book) == ("g", owner, str(scene.folder), None)
    assert owner.startswith("g-w3-")
    assert owner != scene.accounting.first(3)[0]
    assert isinstance(entrance, Entrance)
    assert entrance.directory == scene.store.directory()
    assert entrance.peppers == ((PEPPER.name, PEPPER.secret),)


async def test_everybody_is_told_of_a_change_and_of_signing_keys(scene: Scene) -> None:
    await scene.accounting.changed(scene.put())
    keys = SigningKeys("https://id", b"{}", NOON)
    scene.accounting.signed({keys.issuer: keys})
    first, second = scene.told
    assert isinstance(first, Entrance)
    assert isinstance(second, Entrance)
    assert (first.signing, second.signing) == ((), (keys,))
    assert second.directory == first.directory == scene.store.directory()


async def test_the_doors_say_why_and_a_worker_that_comes_later_is_told_too(scene: Scene) -> None:
    accounting = scene.accounting
    accounting.stale(True)
    accounting.full(True)
    accounting.full(False)
    doors = _said(accounting.first(0)[1][-1])
    accounting.stale(False)
    codes = [each.code for each in scene.told if isinstance(each, Doors)]
    assert codes == [IDENTITIES_STALE.code, JOURNAL_FULL.code, IDENTITIES_STALE.code, None]
    assert isinstance(doors, Doors)
    assert doors.code == IDENTITIES_STALE.code
    assert len(accounting.first(0)[1]) == 2


# -- what counters begin with --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("made", "spent"),
    [
        (budget(), {f"bud_1:red:{MONTH}": 300, f"bud_1:blue:{MONTH}": 1000}),
        (budget(subject="red"), {f"bud_1:red:{MONTH}": 300}),
        (budget(kind="global", subject=""), {f"bud_1::{MONTH}": 1300}),
        (budget(kind="key", subject="k_1", service="small"), {f"bud_1:k_1:{MONTH}": 1100}),
        (budget(subject="red", period="total"), {"bud_1:red:0": 5300}),
        (budget(subject="red", period="day"), {f"bud_1:red:{int(NOON - 43200)}": 300}),
        (budget(subject="nobody"), {}),
    ],
)
async def test_a_new_budget_begins_with_what_was_spent_in_its_period(
    scene: Scene, made: Budget, spent: dict[str, int]
) -> None:
    scene.ledger.append(
        [
            row("a"), row("b", nano=200, service="large"), row("c", nano=1000, project="blue"),
            row("old", nano=5000, at=NOON - 40 * 86400),
        ]
    )  # fmt: skip
    await scene.accounting.changed(scene.put(made))
    told = begun(scene.told[-1])
    assert {name: nano for name, (nano, _) in told.items()} == spent
    assert all(until > NOON for _, until in told.values())
    assert scene.used() == spent


async def test_what_is_on_its_way_into_the_ledger_is_spent_too(scene: Scene) -> None:
    await scene.accounting.changed(scene.put())
    _, journal = scene.worker()
    with contextlib.closing(journal):
        journal.write(Settled("l", (row("a", nano=70),), {}))
        await scene.accounting.changed(scene.put(budget()))
    assert scene.used() == {f"bud_1:red:{MONTH}": 70}


async def test_a_budget_that_is_there_already_is_left_alone_and_one_on_another_subject_is_new(scene: Scene) -> None:
    scene.ledger.append([row("a"), row("b", project="blue")])
    await scene.accounting.changed(scene.put(budget(subject="red")))
    await scene.accounting.changed(scene.put(budget(subject="red", amount_nano=5)))
    assert begun(scene.told[-1]) == {}
    await scene.accounting.changed(scene.put(budget(subject="blue")))
    assert {name: nano for name, (nano, _) in begun(scene.told[-1]).items()} == {f"bud_1:blue:{MONTH}": 100}


async def test_one_that_could_not_be_asked_for_does_not_let_another_begin_empty(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    scene.ledger.append([row("a")])
    await scene.accounting.changed(scene.put())
    spent, fails = scene.ledger.spent, [0, 1]

    def failing(kind: str, service: str, since: float) -> Mapping[str, int]:
        if fails and fails.pop(0):
            raise PenstockError(STORE_UNAVAILABLE, "away")
        return spent(kind, service, since)  # type: ignore[arg-type]

    monkeypatch.setattr(scene.ledger, "spent", failing)
    directory = scene.put(budget(), budget("bud_2", "user"))
    with pytest.raises(PenstockError):
        await scene.accounting.changed(directory)
    assert len(scene.told) == 1, "nobody is told of what could not begin"
    await scene.accounting.changed(directory)
    assert scene.used() == {f"bud_1:red:{MONTH}": 100, f"bud_2:u_1:{MONTH}": 100}


async def test_windows_that_are_not_over_go_on_after_a_start(tmp_path: Path) -> None:
    async with books(tmp_path, alone=True) as scene:
        scene.ledger.append([row("a"), row("a2", at=NOON - 30), row("b", at=NOON - 62), row("c", at=NOON - 3600)])
        limits = (
            Limit(id="lim_1", kind="project", metric="requests", amount=5),
            Limit(id="lim_2", kind="project", subject="red", metric="tokens", per="day", amount=5000),
            Limit(id="lim_3", kind="project", metric="concurrent", per="", amount=5),
            Limit(id="lim_4", kind="project", subject="blue", metric="requests", amount=5),
        )
        await scene.accounting.changed(scene.put(*limits))
        assert scene.used() == {"lim_1:red": 2, "lim_2:red": 4 * 150}
        # The only worker counts on from there.
        begin = _said(scene.accounting.first(0)[1][0])
        assert isinstance(begin, Begin)
        assert begin.book is not None
        caller = Principal(key_id="k", project="red", role="developer")
        applying = Rules(scene.store.directory()).applying(caller, "small")
        asked = needs(applying, Amounts(1, 10, 0, 0), NOON)
        answer = Book.from_state(begin.book).reserve("w", "l", asked, NOON)
        assert isinstance(answer, Granted)
        assert [level.remaining for level in answer.levels] == [2, 5000 - 600 - 10, 4]


# -- workers that are gone -----------------------------------------------------------------------------------------

NEED = Need(f"bud_1:red:{MONTH}", Hold.KEPT, USD, 900, until=4e10)
PLACE = Need("lim_1:red", Hold.HELD, 5, 1)


def _opened(lease: str, held: tuple[Need, ...] = (NEED, PLACE)) -> Opened:
    bound = row(f"r-{lease}", nano=900, ending="worker_lost", estimated=True)
    return Opened(lease, bound, tuple(Held(n.counter, n.hold, n.amount, 0.0, n.until, NOON) for n in held))


@pytest.mark.parametrize("alone", [False, True])
async def test_what_a_worker_leaves_open_is_charged_at_its_bound_and_the_rest_given_back(
    tmp_path: Path, alone: bool
) -> None:
    async with books(tmp_path, alone=alone) as scene:
        await scene.accounting.changed(scene.put())
        owner, journal = scene.worker()
        with contextlib.closing(journal):
            for lease in ("done", "sent", "never"):
                if not alone:
                    assert isinstance(await scene.accounting.reserve(owner, lease, [NEED, PLACE]), Granted)
            for lease in ("done", "sent"):
                journal.write(_opened(lease))
            journal.write(Settled("done", (row("r-done", nano=40),), {NEED.counter: 40, PLACE.counter: 1}))
        # Killed before it could tell the supervisor that one of them was settled.
        await scene.accounting.ended(owner)
        assert {name: amount for name, amount in scene.used().items() if amount} == {NEED.counter: 40 + 900}
        assert list(scene.book.open()) == []
        await scene.shipping.flush(10)
        rows = {request: scene.ledger.request(request) for request in ("r-done", "r-sent", "r-never")}
        assert [each.cost_nano for each in rows["r-done"]] == [40]
        assert [(each.cost_nano, each.estimated, each.ending) for each in rows["r-sent"]] == [
            (900, True, "worker_lost")
        ]
        assert rows["r-never"] == []


async def test_the_mirror_of_the_only_worker_has_what_it_counted(tmp_path: Path) -> None:
    """So that the next one goes on where it was, whatever it was killed at."""
    async with books(tmp_path, alone=True) as scene:
        await scene.accounting.changed(scene.put())
        owner, journal = scene.worker()
        its = Book()
        with contextlib.closing(journal):
            for number in range(20):
                lease = f"l{number}"
                window = Need("lim_2:red", Hold.SLIDING, 10**6, number, 60.0)
                answer = its.reserve(owner, lease, [NEED, PLACE, window][: 1 + number % 3], scene.clock.wall())
                if isinstance(answer, Refused):
                    continue
                asked = [NEED, PLACE, window][: 1 + number % 3]
                held = tuple(Held(n.counter, n.hold, n.amount, n.window_s, n.until, answer.at) for n in asked)
                journal.write(msgspec.structs.replace(_opened(lease), held=held))
                scene.clock.time += 0.25
                if number % 4:
                    used = {NEED.counter: number, window.counter: 1}
                    its.settle(owner, lease, used)
                    journal.write(Settled(lease, (), used))
            await scene.shipping.caught_up(10)
            assert scene.used() == {name: counter.used for name, counter in its._counters.items()}
            assert sorted(scene.book.open()) == sorted(its.open())


async def test_several_that_end_at_once_each_give_back_their_own(scene: Scene) -> None:
    await scene.accounting.changed(scene.put())
    owners = []
    for index in range(3):
        owner, journal = scene.worker(index)
        owners.append(owner)
        await scene.accounting.reserve(owner, "l", [NEED, PLACE])
        await scene.accounting.reserve(owner, "m", [NEED])
        with contextlib.closing(journal):
            journal.write(_opened("l"))
    await asyncio.gather(*(scene.accounting.ended(owner) for owner in owners[:2]))
    assert scene.used() == {NEED.counter: 2 * 900 + 2 * 900, PLACE.counter: 1}
