"""Counters in a real Redis that are lost and come back from the ledger, with one gateway and with two."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import msgspec
import pytest

from penstock.access.book import Book
from penstock.access.config import AccessSettings
from penstock.access.counters_redis_epochs import RedisEpochs
from penstock.access.counters_redis_link import RedisLink
from penstock.assembly.accounting import Accounting
from penstock.assembly.counting import RemoteCounting
from penstock.assembly.rebuilding import Rebuilding
from penstock.assembly.redis import Open
from penstock.assembly.state import State, opened
from penstock.caches.config import CacheSettings
from penstock.control.directories import Directories
from penstock.control.shipping import Shipping, ShippingPace
from penstock.core.accounts import Budget, Change, Limit
from penstock.core.clock import SystemClock
from penstock.core.errors import COUNTERS_UNAVAILABLE, PenstockError
from penstock.core.leases import Granted, Hold, Need, Refused
from penstock.core.usage import Held
from penstock.observe.config import ObserveSettings
from penstock.store.config import StateSettings
from penstock.store.database import sqlite_url
from tests.control.shipping_house import cancelled_at_end
from tests.redis import RedisServer
from tests.store.records import entry

USD = 1_000_000_000
BUDGET = Budget(id="bud_1", kind="project", subject="red", period="total", amount_nano=USD)
LIMIT = Limit(id="lim_1", kind="project", subject="red", metric="requests", per="day", amount=10)
SPENT = "bud_1:red:0"
FOR_EVER = 4e10
CLOCK = SystemClock()


@pytest.fixture(scope="module")
def server() -> Iterator[RedisServer]:
    with RedisServer() as running:
        yield running


@pytest.fixture
def redis(server: RedisServer) -> RedisServer:
    server.ask("FLUSHALL")
    server.ask("SCRIPT", "FLUSH")
    return server


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("penstock.assembly.rebuilding._EVERY_S", 0.02)
    monkeypatch.setattr("penstock.assembly.counting._AGAIN_S", 0.01)
    monkeypatch.setattr("penstock.control.directories.EVERY_S", 0.02)
    monkeypatch.setattr("penstock.control.directories.BEAT_S", 0.02)


def spend(nano: int, limit: int = USD) -> Need:
    return Need(SPENT, Hold.KEPT, limit, nano, until=FOR_EVER)


class Gateway:
    """One gateway as the supervisor has it, and the counting of one worker. ``state`` is that of its home; several
    may have the same store."""

    def __init__(self, redis: RedisServer, state: State, folder: Path, held: contextlib.AsyncExitStack) -> None:
        access = AccessSettings(counters=redis.url, counters_timeout_s=0.5)
        self.state = state
        self.holds: Open = ()
        self.told: list[bytes] = []
        self.rebuilding = Rebuilding(access, state, CLOCK, self._holding)
        held.push_async_callback(self.rebuilding.aclose)
        journal = folder / f"journal-{state.gateway}"
        journal.mkdir(exist_ok=True)
        self.accounting = Accounting(
            gateway=state.gateway, folder=journal, spool=folder / "spool", access=access,
            observe=ObserveSettings(), state=StateSettings(), cache=CacheSettings(), peppers=state.peppers,
            ledger=state.ledger, counters=self.rebuilding.counters, book=Book(), alone=False, clock=CLOCK,
            tell=self.told.append,
        )  # fmt: skip
        self.shipping = Shipping(
            journal, state.ledger, state.audit, state.store.used, state.scores.append_scores, limit_bytes=1 << 20,
            clock=CLOCK, follow=self.accounting.follow, orphaned=self.accounting.orphaned, changed=self.accounting.full,
            pace=ShippingPace(tick_s=0.01),
        )  # fmt: skip
        self.accounting.ship_by(self.shipping)
        self.directories = Directories(
            state.store, CLOCK, gateway=state.gateway, stale_after_s=300.0, changed=self.accounting.changed,
            stale=self.accounting.stale,
        )  # fmt: skip
        self.rebuilding.begin(self.shipping, self.directories, self.accounting)
        self.counting = RemoteCounting(access, f"{state.gateway}-w0-1", CLOCK)
        held.push_async_callback(self.counting.aclose)

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        async with cancelled_at_end(self.shipping.run()):
            await self.directories.first()
            async with cancelled_at_end(self.directories.run()), cancelled_at_end(self.rebuilding.run()):
                yield

    async def asks(self, lease: str, *needs: Need) -> Granted | Refused:
        """As soon as the counters count."""
        found: list[Granted | Refused] = []

        async def try_once() -> bool:
            try:
                found.append(await self.counting.reserve(lease, needs))
            except PenstockError as error:
                if error.fault is not COUNTERS_UNAVAILABLE:
                    raise
            return bool(found)

        await eventually(try_once)
        return found[0]

    async def left(self) -> int:
        """Of the budget."""
        answer = await self.asks("probe", spend(0))
        self.counting.settle("probe", {})
        return answer.levels[0].remaining

    async def _holding(self) -> Open:
        return self.holds


async def eventually(done: Callable[[], object]) -> None:
    """Until it says so; each try lets others go on."""
    async with asyncio.timeout(15):
        while True:
            answer = done()
            if asyncio.iscoroutine(answer):
                answer = await answer
            if answer:
                return
            await asyncio.sleep(0.01)


@contextlib.asynccontextmanager
async def gateways(redis: RedisServer, folder: Path, count: int) -> AsyncIterator[list[Gateway]]:
    """Of one store, which has a budget of a dollar, half a cent of which is spent."""
    settings = StateSettings(store=sqlite_url(folder / "shared.db"))
    async with contextlib.AsyncExitStack() as held:
        made = []
        for number in range(count):
            home = folder / f"home{number}"
            home.mkdir()
            (home / "gateway").write_text(f"g{number + 1}")
            state = held.enter_context(opened(home, settings, AccessSettings(), ObserveSettings(), CLOCK))
            if not number:
                state.store.change(Change(version=state.store.version(), put=(BUDGET, LIMIT)))
                put_rows(state, 5)
            made.append(Gateway(redis, state, folder, held))
        for each in made:
            await held.enter_async_context(each.running())
        yield made


def put_rows(state: State, count: int, nano: int = 1_000_000, prefix: str = "r") -> None:
    rows = [
        msgspec.structs.replace(entry(f"{prefix}{number}", cost_nano=nano), received_at=CLOCK.wall())
        for number in range(count)
    ]
    state.ledger.append(rows)


async def test_at_first_budgets_and_windows_begin_with_what_the_ledger_has(
    redis: RedisServer, tmp_path: Path
) -> None:
    async with gateways(redis, tmp_path, 1) as (one,):
        assert await one.left() == USD - 5_000_000
        answer = await one.asks("a", Need("lim_1:red", Hold.SLIDING, 10, 1, 86400.0))
        assert answer.levels[0].remaining == 10 - 5 - 1


async def test_two_that_start_together_count_once_and_share(redis: RedisServer, tmp_path: Path) -> None:
    async with gateways(redis, tmp_path, 2) as (one, two):
        assert await one.left() == await two.left() == USD - 5_000_000
        assert isinstance(await one.asks("a", spend(USD - 5_000_000)), Granted)
        assert isinstance(await two.asks("b", spend(1)), Refused)
        one.counting.settle("a", {SPENT: 7})
        await eventually(lambda: _is(two, USD - 5_000_000 - 7))


async def _is(gateway: Gateway, left: int) -> bool:
    return await gateway.left() == left


async def test_after_a_crash_of_redis_nothing_is_granted_that_the_ledger_and_open_leases_do_not_leave(
    redis: RedisServer, tmp_path: Path
) -> None:
    async with gateways(redis, tmp_path, 2) as (one, two):
        await eventually(lambda: one.directories.alive == two.directories.alive == {"g1", "g2"})
        for gateway, name in ((one, "a"), (two, "b")):
            assert isinstance(await gateway.asks(name, spend(100_000_000)), Granted)
            held = (Held(SPENT, Hold.KEPT, 100_000_000, 0.0, FOR_EVER, CLOCK.wall()),)
            gateway.holds = ((f"{gateway.state.gateway}-w0-1", name, held),)
        put_rows(one.state, 3, prefix="s")
        redis.kill()
        with pytest.raises(PenstockError) as caught:
            await one.counting.reserve("c", [spend(1)])
        assert caught.value.fault is COUNTERS_UNAVAILABLE
        redis.start()
        # Whoever is granted something now is granted it beside what was spent and what is open at both gateways.
        first = await one.asks("c", spend(0))
        assert first.levels[0].remaining == USD - 8_000_000 - 200_000_000
        assert await two.left() == USD - 8_000_000 - 200_000_000
        # The open leases are the ones from before: settling them gives back what they did not use.
        one.counting.settle("a", {SPENT: 10})
        two.counting.settle("b", {SPENT: 20})
        await eventually(lambda: _is(one, USD - 8_000_000 - 30))


async def test_until_every_gateway_that_lives_has_said_what_it_holds_nothing_is_granted(
    redis: RedisServer, tmp_path: Path
) -> None:
    async with gateways(redis, tmp_path, 1) as (one,):
        await one.left()
        one.state.store.beat("another", CLOCK.wall())
        await eventually(lambda: "another" in one.directories.alive)
        redis.kill()
        redis.start()
        link = RedisLink(redis.url, "penstock", timeout_s=2.0, clock=CLOCK)
        epochs = RedisEpochs(link)
        with contextlib.suppress(PenstockError):
            await one.counting.reserve("c", [spend(1)])

        async def presented() -> bool:
            standing = await epochs.epoch()
            return standing is not None and await epochs.presented(standing.id) == {one.state.gateway}

        await eventually(presented)
        for _ in range(5):
            with pytest.raises(PenstockError):
                await one.counting.reserve("c", [spend(1)])
        standing = await epochs.epoch()
        assert standing is not None
        await epochs.present("another", standing.id, [("another-w0-1", "x", (_held(9),))])
        assert await one.left() == USD - 5_000_000 - 9
        await link.aclose()


def _held(nano: int) -> Held:
    return Held(SPENT, Hold.KEPT, nano, 0.0, FOR_EVER, CLOCK.wall())


@pytest.mark.parametrize("leader", ["gone", "itself"])
async def test_a_rebuild_that_was_left_half_done_is_begun_anew(
    redis: RedisServer, tmp_path: Path, leader: str
) -> None:
    """A gateway may die between beginning it and opening it, or have been killed and started again."""
    link = RedisLink(redis.url, "penstock", timeout_s=2.0, clock=CLOCK)
    epochs = RedisEpochs(link)
    epoch = await epochs.begin("g1" if leader == "itself" else "gone")
    assert epoch is not None
    # Part of it was counted already.
    await epochs.present("gone", epoch, [("gone-w0-1", "x", (_held(500),))])
    if leader == "gone":
        redis.ask("DEL", link.names.lock)
    async with gateways(redis, tmp_path, 1) as (one,):
        assert await one.left() == USD - 5_000_000
    await link.aclose()


async def test_one_whose_opening_fails_begins_anew_and_counts_nothing_twice(
    redis: RedisServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opening, fails = RedisEpochs.open, [1, 1]

    async def failing(self: RedisEpochs, epoch: str, spent: dict[str, tuple[int, float]], past: object) -> None:
        if fails:
            fails.pop()
            script_run = self._run

            async def only_count(script: object, *arguments: object) -> None:
                await script_run(script, *arguments)  # type: ignore[arg-type]
                if arguments[0] == "count":
                    raise PenstockError(COUNTERS_UNAVAILABLE, "cut off after the first half")

            monkeypatch.setattr(self, "_run", only_count)
            try:
                await opening(self, epoch, spent, past)  # type: ignore[arg-type]
            finally:
                monkeypatch.setattr(self, "_run", script_run)
            return
        await opening(self, epoch, spent, past)  # type: ignore[arg-type]

    monkeypatch.setattr(RedisEpochs, "open", failing)
    async with gateways(redis, tmp_path, 1) as (one,):
        assert await one.left() == USD - 5_000_000
        assert not fails


async def test_what_was_used_while_redis_was_away_is_settled_when_it_is_back(
    redis: RedisServer, tmp_path: Path
) -> None:
    async with gateways(redis, tmp_path, 1) as (one,):
        assert isinstance(await one.asks("a", spend(100)), Granted)
        redis.pause()
        try:
            one.counting.settle("a", {SPENT: 40})
            with pytest.raises(PenstockError):
                await one.counting.reserve("b", [spend(1)])
            # As a lease does that does not know whether it was granted.
            one.counting.settle("b", {SPENT: 0})
        finally:
            redis.resume()
        await eventually(lambda: _is(one, USD - 5_000_000 - 40))


async def test_a_worker_that_is_ready_counts_its_first_request(redis: RedisServer, tmp_path: Path) -> None:
    async with gateways(redis, tmp_path, 1) as (one,):
        assert isinstance(await one.asks("r1", spend(1)), Granted)
        later = RemoteCounting(AccessSettings(counters=redis.url, counters_timeout_s=0.5), "g1-w0-2", CLOCK)
        with pytest.raises(PenstockError):
            await later.reserve("r2", (spend(1),))
        await later.ready()
        assert isinstance(await later.reserve("r2", (spend(1),)), Granted)
        later.settle("r2", {})
        await later.aclose()
