"""Counters in a real Redis: the contract, and what happens when Redis is slow, away, or has lost what it counted."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator

import pytest

from penstock.access.counters_redis import RedisCounters
from penstock.access.counters_redis_epochs import Epoch, RedisEpochs
from penstock.access.counters_redis_link import EpochLost, RedisLink
from penstock.core.clock import SystemClock
from penstock.core.errors import BAD_DEPLOYMENT, COUNTERS_UNAVAILABLE, PenstockError
from penstock.core.leases import Counters, Granted, Hold, Refused
from penstock.core.usage import Held
from tests.contracts.counters import LATER, CountersContract, held, kept, sliding
from tests.redis import RedisServer


@pytest.fixture(scope="module")
def server() -> Iterator[RedisServer]:
    with RedisServer() as running:
        yield running


class Gateway:
    """One gateway's way to the counters, and how often it heard that they were lost."""

    def __init__(self, server: RedisServer, name: str = "g1", timeout_s: float = 2.0) -> None:
        self.name = name
        self.heard = 0
        self.link = RedisLink(server.url, "penstock", timeout_s=timeout_s, clock=SystemClock())
        self.counters = RedisCounters(self.link, self._lost)
        self.epochs = RedisEpochs(self.link)

    def _lost(self) -> None:
        self.heard += 1

    async def rebuild(self, spent: dict[str, tuple[int, float]] | None = None) -> str:
        """Leads, alone."""
        epoch = await self.epochs.begin(self.name)
        assert epoch is not None
        await self.epochs.present(self.name, epoch, [])
        await self.epochs.open(epoch, spent or {})
        self.counters.join(epoch)
        return epoch


class TestRedisCounters(CountersContract):
    @pytest.fixture(autouse=True)
    def _server(self, server: RedisServer) -> None:
        self.server = server
        server.ask("FLUSHALL")

    async def make(self) -> Counters:
        gateway = Gateway(self.server)
        await gateway.rebuild()
        return gateway.counters

    async def another(self, counters: Counters) -> Counters:
        gateway = Gateway(self.server)
        epoch = await gateway.epochs.epoch()
        assert epoch is not None
        assert epoch.open
        gateway.counters.join(epoch.id)
        return gateway.counters


@pytest.fixture
async def gateway(server: RedisServer) -> AsyncIterator[Gateway]:
    server.ask("FLUSHALL")
    made = Gateway(server)
    await made.rebuild()
    yield made
    await made.counters.aclose()


async def test_a_call_is_one_round_trip(gateway: Gateway, server: RedisServer) -> None:
    await gateway.counters.reserve("w1", "warm", [sliding(1)])
    for call in (
        lambda: gateway.counters.reserve("w1", "a", [sliding(1), held(1), kept(1), sliding(1, counter="lim_7")]),
        lambda: gateway.counters.settle("w1", "a", {kept(0).counter: 1}),
    ):
        before = _commands(server)
        await call()
        assert _commands(server) - before == 2, "the call, and the question itself"


def _commands(server: RedisServer) -> int:
    """How many commands clients sent; those of scripts are told apart by being counted in their own rows."""
    stats = server.ask("INFO", "commandstats").decode()
    rows = dict(line.split(":", 1) for line in stats.splitlines() if line.startswith("cmdstat_"))
    return sum(
        int(rows[name].split("calls=")[1].split(",")[0])
        for name in rows
        if name in ("cmdstat_evalsha", "cmdstat_eval", "cmdstat_info", "cmdstat_script|load", "cmdstat_get")
    )


async def test_restarted_empty_nothing_is_granted_until_it_is_rebuilt() -> None:
    with RedisServer() as server:
        one, two = Gateway(server, "g1"), Gateway(server, "g2")
        first = await one.rebuild()
        two.counters.join(first)
        await one.counters.reserve("w1", "a", [kept(6), held(1), sliding(4, window_s=60.0)])
        await two.counters.reserve("w2", "b", [kept(1)])
        await two.counters.settle("w2", "b", {})
        server.kill()
        server.start()
        for gateway in (one, two):
            with pytest.raises(PenstockError) as caught:
                await until_answered(gateway, "c")
            assert isinstance(caught.value, EpochLost)
            with pytest.raises(EpochLost):
                await gateway.counters.settle("w1", "a", {})
            assert gateway.heard == 1
            assert gateway.counters.epoch is None

        epoch = await one.epochs.begin("g1")
        assert epoch is not None
        assert await two.epochs.begin("g2") is None
        assert await two.epochs.epoch() == Epoch(epoch, False)
        two.counters.join(epoch)
        with pytest.raises(PenstockError, match="being rebuilt") as caught:
            await two.counters.reserve("w2", "c", [kept(1)])
        assert not isinstance(caught.value, EpochLost)
        at = time.time()
        parts = (
            Held(kept(0).counter, Hold.KEPT, 6, 0.0, LATER, at),
            Held(held(0).counter, Hold.HELD, 1, 0.0, 0.0, at),
            Held(sliding(0).counter, Hold.SLIDING, 4, 60.0, 0.0, at),
        )
        for _ in range(2):
            await one.epochs.present("g1", epoch, [("w1", "a", parts)])
        assert await one.epochs.presented(epoch) == {"g1"}
        await two.epochs.present("g2", epoch, [])
        assert await one.epochs.presented(epoch) == {"g1", "g2"}
        past = [Held(sliding(0).counter, Hold.SLIDING, 2, 60.0, 0.0, at - 5)]
        await one.epochs.open(epoch, {kept(0).counter: (1, LATER)}, past)
        one.counters.join(epoch)
        needs = [kept(0), held(0), sliding(0, window_s=60.0)]
        answer = await two.counters.reserve("w2", "c", needs)
        assert [level.remaining for level in answer.levels] == [3, 9, 4]
        await one.counters.settle("w1", "a", {kept(0).counter: 2, sliding(0).counter: 0})
        answer = await two.counters.reserve("w2", "d", needs)
        assert [level.remaining for level in answer.levels] == [7, 10, 8]
        refused = await two.counters.reserve("w2", "e", [sliding(9, window_s=60.0)])
        assert isinstance(refused, Refused)
        assert refused.retry_after is not None
        assert 50 < refused.retry_after < 56
        for gateway in (one, two):
            await gateway.counters.aclose()


async def until_answered(gateway: Gateway, lease: str) -> None:
    """Reserves until Redis answers, whatever it says."""
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        try:
            await gateway.counters.reserve("w9", lease, [kept(1)])
        except EpochLost:
            raise
        except PenstockError:
            await asyncio.sleep(0.01)
        else:
            return
    raise AssertionError("Redis did not answer")


async def test_restarted_with_an_old_copy_of_what_it_counted() -> None:
    with RedisServer() as server:
        gateway = Gateway(server)
        await gateway.rebuild()
        server.ask("SAVE")
        await gateway.counters.reserve("w1", "a", [kept(10)])
        server.kill()
        server.start()
        assert b"rebuilding" not in server.ask("HGETALL", gateway.link.names.truth)
        assert b"epoch" in server.ask("HGETALL", gateway.link.names.truth)
        with pytest.raises(EpochLost):
            await until_answered(gateway, "b")
        assert await gateway.epochs.epoch() is None
        await gateway.rebuild({kept(0).counter: (10, LATER)})
        assert isinstance(await gateway.counters.reserve("w1", "b", [kept(1)]), Refused)
        await gateway.counters.aclose()


@pytest.mark.parametrize("key", ["truth", "leases", "due", "window:lim_1:key:a", "*"])
async def test_flushed_or_evicted_is_noticed(gateway: Gateway, server: RedisServer, key: str) -> None:
    await gateway.counters.reserve("w1", "a", [kept(10), sliding(10, window_s=60.0), held(1)])
    if key == "*":
        server.ask("FLUSHALL", "ASYNC")
    else:
        assert server.ask("DEL", "{penstock}:" + key) == b":1\r\n"
    asked = [sliding(1, counter="lim_8"), sliding(1, window_s=60.0)]
    with pytest.raises(EpochLost):
        await gateway.counters.reserve("w1", "b", asked)
    assert gateway.heard == 1
    assert await gateway.epochs.epoch() is None
    await gateway.rebuild()
    assert isinstance(await gateway.counters.reserve("w1", "b", asked), Granted)


async def test_one_gateway_leads_and_one_that_stopped_is_followed_by_another(
    gateway: Gateway, server: RedisServer
) -> None:
    two = Gateway(server, "g2")
    assert await two.epochs.begin("g2") is None
    server.ask("FLUSHALL")
    async with asyncio.TaskGroup() as group:
        begun = [group.create_task(each.epochs.begin(each.name)) for each in (gateway, two) * 4]
    epoch = await gateway.epochs.epoch()
    assert epoch is not None
    assert not epoch.open
    leaders = [each.result() for each in begun if each.result()]
    assert leaders[-1] == epoch.id or epoch.id in leaders
    server.ask("DEL", gateway.link.names.lock)
    newer = await two.epochs.begin("g2")
    assert newer not in (None, epoch.id)
    with pytest.raises(EpochLost):
        await gateway.epochs.open(epoch.id, {})
    with pytest.raises(EpochLost):
        await gateway.epochs.present("g1", epoch.id, [])
    with pytest.raises(EpochLost):
        await gateway.epochs.presented(epoch.id)
    await two.epochs.open(str(newer), {})
    assert await gateway.epochs.begin("g1") is None
    await two.counters.aclose()


async def test_a_gateway_that_comes_late_brings_its_leases(gateway: Gateway, server: RedisServer) -> None:
    late = Gateway(server, "g2")
    epoch = await late.epochs.epoch()
    assert epoch is not None
    leases = [
        (f"w{number % 3}", f"l{number}", [Held("big", Hold.KEPT, 1, 0.0, LATER, 0.0)]) for number in range(2000)
    ]
    await late.epochs.present("g2", epoch.id, leases)
    late.counters.join(epoch.id)
    answer = await late.counters.reserve("w9", "x", [kept(0, 10_000, "big")])
    assert answer.levels[0].remaining == 8000
    assert await late.counters.end("w0") == 667
    await late.counters.aclose()


async def test_what_is_empty_is_forgotten(gateway: Gateway, server: RedisServer) -> None:
    for number in range(40):
        needs = [sliding(1, counter=f"lim_{number}", window_s=0.2), held(1, counter=f"h{number}")]
        await gateway.counters.reserve("w1", f"{number}", needs)
        await gateway.counters.settle("w1", f"{number}", {})
    await gateway.counters.begin({f"bud_{number}": (1, 1000.0) for number in range(40)})
    names = gateway.link.names
    deadline = time.monotonic() + 10
    while server.ask("ZCARD", names.due) != b":1\r\n" or server.ask("HLEN", names.truth) != b":3\r\n":
        assert time.monotonic() < deadline, server.ask("HGETALL", names.truth)
        await gateway.counters.reserve("w1", "x", [sliding(1, 10**9, window_s=60.0)])
    assert server.ask("ZCARD", names.untils) == b":0\r\n"
    await gateway.counters.reserve("w1", "y", [sliding(1, counter="lim_1", window_s=0.2)])


async def test_a_silent_redis_costs_one_deadline_and_then_nothing_until_it_is_back(server: RedisServer) -> None:
    server.ask("FLUSHALL")
    gateway = Gateway(server, timeout_s=0.2)
    await gateway.rebuild()
    server.pause()
    try:
        began = time.monotonic()
        with pytest.raises(PenstockError, match=r"within 0\.2 s") as caught:
            await gateway.counters.reserve("w1", "a", [kept(1)])
        assert caught.value.fault is COUNTERS_UNAVAILABLE
        assert 0.15 < time.monotonic() - began < 1
        began = time.monotonic()
        for _ in range(100):
            with pytest.raises(PenstockError, match="a moment ago"):
                await gateway.counters.reserve("w1", "a", [kept(1)])
        assert time.monotonic() - began < 0.2
    finally:
        server.resume()
    await until_answered(gateway, "b")
    for number in range(20):
        answer = await gateway.counters.reserve("w1", f"c{number}", [kept(0, 100), sliding(number % 3, 99)])
        assert len(answer.levels) == 2, "an answer to an earlier question would have another shape"
    assert gateway.heard == 0
    await gateway.counters.aclose()


async def test_while_it_is_away_one_call_tries_and_the_others_are_refused_at_once() -> None:
    with RedisServer() as server:
        gateway = Gateway(server)
        await gateway.rebuild()
        server.kill()
        with pytest.raises(PenstockError) as caught:
            await gateway.counters.reserve("w1", "a", [kept(1)])
        assert caught.value.fault is COUNTERS_UNAVAILABLE
        assert "access: counters" in caught.value.message
        outcomes = await asyncio.gather(
            *(gateway.counters.settle("w1", "a", {}) for _ in range(50)), return_exceptions=True
        )
        assert all(isinstance(each, PenstockError) and "a moment ago" in each.message for each in outcomes)
        await gateway.counters.aclose()


async def test_nothing_is_granted_before_an_epoch_was_joined(server: RedisServer) -> None:
    gateway = Gateway(server)
    with pytest.raises(EpochLost):
        await gateway.counters.reserve("w1", "a", [kept(1)])
    assert gateway.heard == 0
    await gateway.counters.aclose()
    await gateway.counters.aclose()


def test_what_cannot_be_used_is_said() -> None:
    for url, namespace in (("http://secret@x", "penstock"), ("redis://x", ""), ("redis://x", "a{b")):
        with pytest.raises(PenstockError) as caught:
            RedisLink(url, namespace, timeout_s=1, clock=SystemClock())
        assert caught.value.fault is BAD_DEPLOYMENT
        assert "secret" not in caught.value.message
