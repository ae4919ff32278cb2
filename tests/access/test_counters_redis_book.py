"""Redis does what the book does; and what only a real one can show: replicas that take over, clocks that go back."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from penstock.access.book import Book
from penstock.core.errors import COUNTERS_UNAVAILABLE, PenstockError
from penstock.core.leases import Granted, Hold, Need, Refused
from tests.access.test_counters_redis import Gateway
from tests.contracts.counters import LATER, kept, sliding
from tests.redis import RedisServer

COUNTERS = {"slide": Hold.SLIDING, "slide2": Hold.SLIDING, "held": Hold.HELD, "kept": Hold.KEPT}
HOUR_S = 3600.0
"""Of every window: longer than the test, so that it does not matter when a step was."""


def need(counter: str, amount: int, limit: int) -> Need:
    hold = COUNTERS[counter]
    return Need(counter, hold, limit, amount, HOUR_S if hold is Hold.SLIDING else 0.0, LATER)


NEEDS = st.builds(
    lambda asked, limits: [need(counter, amount, limits[counter]) for counter, amount in asked],
    st.lists(st.tuples(st.sampled_from(list(COUNTERS)), st.integers(0, 7)), max_size=5),
    st.fixed_dictionaries(dict.fromkeys(COUNTERS, st.integers(3, 12))),
)
USED = st.dictionaries(st.sampled_from(list(COUNTERS)), st.integers(0, 9), max_size=4)
OWNERS = st.sampled_from(["w1", "w2"])
LEASES = st.sampled_from(["a", "b"])
STEPS = st.one_of(
    st.tuples(st.just("reserve"), OWNERS, LEASES, NEEDS),
    st.tuples(st.just("reserve"), OWNERS, LEASES, NEEDS),
    st.tuples(st.just("settle"), OWNERS, LEASES, USED),
    st.tuples(st.just("end"), OWNERS),
    st.just(("rebuild",)),
)


@pytest.fixture(scope="module")
def server() -> Iterator[RedisServer]:
    with RedisServer("--repl-diskless-sync-delay", "0") as running:
        yield running


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(STEPS, max_size=20))
def test_redis_does_what_the_book_does(server: RedisServer, steps: list[tuple]) -> None:
    asyncio.run(_compare(server, steps))


async def _compare(server: RedisServer, steps: list[tuple]) -> None:
    server.ask("FLUSHALL")
    gateway, book = Gateway(server), Book()
    await gateway.rebuild()
    counters = gateway.counters
    for step in steps:
        match step:
            case ("reserve", owner, lease, needs):
                real = await counters.reserve(owner, lease, needs)
                model = book.reserve(owner, lease, needs, time.time())
                assert type(real) is type(model)
                assert [level.remaining for level in real.levels] == [level.remaining for level in model.levels]
                assert [level.reset_s for level in real.levels] == pytest.approx(
                    [level.reset_s for level in model.levels], abs=HOUR_S / 600 + 2
                )
                if isinstance(real, Refused) and isinstance(model, Refused):
                    assert alike(real, model, needs)
            case ("settle", owner, lease, used):
                await counters.settle(owner, lease, used)
                book.settle(owner, lease, used)
            case ("end", owner):
                assert await counters.end(owner) == book.end(owner)
            case _:
                book = await _rebuilt(server, gateway, book)
    await counters.aclose()


def alike(real: Refused, model: Refused, needs: list[Need]) -> bool:
    """The same, but for sliding waits that lie within a bucket of one another, where either may be the longer."""
    if real.retry_after is None or model.retry_after is None:
        return (real.tightest, real.retry_after) == (model.tightest, model.retry_after)
    either = {needs[each.tightest].hold for each in (real, model)} == {Hold.SLIDING}
    close = real.retry_after == pytest.approx(model.retry_after, abs=HOUR_S / 600 + 2)
    return close and (either or real.tightest == model.tightest)


async def _rebuilt(server: RedisServer, gateway: Gateway, book: Book) -> Book:
    """Redis loses everything; the leases that are open come back, and so they do in a new book."""
    server.ask("FLUSHALL")
    new = Book()
    leases = list(book.open())
    for owner, lease, parts in leases:
        new.reserve(
            owner,
            lease,
            [Need(part.counter, part.hold, 10**6, part.amount, part.window_s, part.until) for part in parts],
            time.time(),
        )
    epoch = await gateway.epochs.begin(gateway.name)
    assert epoch is not None
    await gateway.epochs.present(gateway.name, epoch, leases)
    await gateway.epochs.open(epoch, {})
    gateway.counters.join(epoch)
    return new


async def test_a_replica_that_takes_over_is_noticed(server: RedisServer) -> None:
    server.ask("FLUSHALL")
    gateway = Gateway(server)
    epoch = await gateway.rebuild()
    with RedisServer("--replicaof", "127.0.0.1", str(server.port)) as replica:
        deadline = time.monotonic() + 20
        while epoch.encode() not in replica.ask("HGETALL", gateway.link.names.truth):
            assert time.monotonic() < deadline, "nothing was replicated"
            await asyncio.sleep(0.05)
        replica.ask("REPLICAOF", "NO", "ONE")
        moved = Gateway(replica)
        moved.counters.join(epoch)
        with pytest.raises(PenstockError, match="has lost"):
            await moved.counters.reserve("w1", "a", [kept(1)])
        assert moved.heard == 1
        server.ask("REPLICAOF", "127.0.0.1", str(replica.port))
        try:
            with pytest.raises(PenstockError) as caught:
                await gateway.counters.reserve("w1", "a", [kept(1)])
            assert caught.value.fault is COUNTERS_UNAVAILABLE
        finally:
            server.ask("REPLICAOF", "NO", "ONE")
        await moved.counters.aclose()
    await gateway.counters.aclose()


async def test_a_clock_that_went_back_is_not_followed(server: RedisServer) -> None:
    server.ask("FLUSHALL")
    gateway = Gateway(server)
    await gateway.rebuild()
    await gateway.counters.reserve("w1", "a", [sliding(4, window_s=60.0)])
    window = "{penstock}:window:" + sliding(0).counter
    ahead = str(int(time.time() * 10) + 50)
    server.ask("HSET", window, "last", ahead)
    answer = await gateway.counters.reserve("w1", "b", [sliding(3, window_s=60.0)])
    assert isinstance(answer, Granted)
    assert answer.levels[0].remaining == 3
    assert server.ask("HGET", window, ahead) == b"$1\r\n3\r\n"
    await gateway.counters.settle("w1", "b", {sliding(0).counter: 1})
    assert server.ask("HGET", window, ahead) == b"$1\r\n1\r\n"
    await gateway.counters.aclose()
