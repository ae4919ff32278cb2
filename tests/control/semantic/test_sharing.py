"""Gateways that tell one another of answers, over a real Redis."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from penstock.caches.config import RedisSettings
from penstock.caches.semantic.shared_redis import RedisShared
from penstock.control.semantic.desks import Desks
from penstock.control.semantic.sharing import named
from penstock.core.caching import DeskScope, Invalidation, Sought
from tests.control.semantic.house import SCOPE, Walls, ask, entry, graph, taught
from tests.redis import RedisServer

CLEAN, BUILD = "How do I clean a kite?", "How do I build a telescope?"
KEY = f"penstock:desk:{named(SCOPE)}"


@pytest.fixture(scope="module")
def server() -> Iterator[RedisServer]:
    with RedisServer() as running:
        yield running


class Pair:
    """Two gateways, each with a folder of its own."""

    def __init__(self, folder: Path, url: str, clock: Walls) -> None:
        self.one, self.other = (
            Desks(folder / name, clock, graph, shared=RedisShared(RedisSettings(url=url, write_s=0.5)), gateway=name)
            for name in ("one", "other")
        )

    async def turn(self) -> None:
        """Both tell and hear, once."""
        for desks in (self.one, self.other):
            await desks.tick()
            assert desks._telling is not None
            await desks._telling


@pytest.fixture
def clock() -> Walls:
    return Walls()


@pytest.fixture
async def pair(tmp_path: Path, server: RedisServer, clock: Walls) -> AsyncIterator[Pair]:
    server.ask("FLUSHALL")
    made = Pair(tmp_path, server.url, clock)
    for desks in (made.one, made.other):
        await desks.seek("w", ask(CLEAN))
    yield made
    await made.one.aclose()
    await made.other.aclose()


async def sought(desks: Desks, text: str, scope: DeskScope = SCOPE) -> Sought:
    return await desks.seek("w", ask(text, scope=scope))


async def test_what_one_was_taught_the_other_knows(pair: Pair, clock: Walls, server: RedisServer) -> None:
    await pair.one.keep(taught(CLEAN, clock.at))
    assert (await sought(pair.other, CLEAN)).reason == "alone"
    await pair.turn()
    assert (await sought(pair.other, CLEAN)).entry == taught(CLEAN, clock.at).entry
    await pair.turn()
    assert server.ask("XLEN", KEY) == b":1\r\n"
    assert int(server.ask("PTTL", KEY)[1:]) > 6 * 86_400_000
    # A newer answer takes the place of the older one, not the other way round.
    await pair.other.keep(taught(CLEAN, clock.at + 5))
    await pair.one.keep(taught(CLEAN, clock.at + 2))
    await pair.turn()
    await pair.turn()
    for desks in (pair.one, pair.other):
        assert (await sought(desks, CLEAN)).entry == taught(CLEAN, clock.at + 5).entry


async def test_a_scope_that_is_opened_hears_of_all_there_is(pair: Pair, clock: Walls) -> None:
    later = DeskScope("p1", "chat", "later")
    await pair.one.seek("w", ask(CLEAN, scope=later))
    for number in range(80):
        await pair.one.keep(taught(CLEAN, clock.at, scope=later, rest=str(number).encode()))
    await pair.turn()
    await pair.other.seek("w", ask(CLEAN, scope=later))
    await pair.turn()
    await pair.turn()
    await pair.other.tick()
    assert {each.scope: each.entries for each in pair.other.figures()}[later] == 80


async def test_what_is_invalidated_leaves_the_server(pair: Pair, clock: Walls, server: RedisServer) -> None:
    await pair.one.keep(taught(CLEAN, clock.at, made=entry(CLEAN, clock.at, subject="somebody")))
    for number in range(40):
        await pair.one.keep(taught(BUILD, clock.at, rest=str(number).encode()))
    await pair.turn()
    assert server.ask("XLEN", KEY) == b":41\r\n"
    pair.other.invalidate([Invalidation(scope="subject", value="somebody", at=clock.at + 1)])
    await pair.turn()
    await pair.turn()
    assert server.ask("XLEN", KEY) == b":40\r\n"
    assert (await sought(pair.other, CLEAN)).reason != "learning"


async def test_what_is_damaged_or_of_another_scope_is_passed_over(
    pair: Pair, clock: Walls, server: RedisServer
) -> None:
    server.ask("XADD", KEY, "*", "v", "nonsense")
    server.ask("XADD", KEY, "*", "other", "field")
    await pair.one.keep(taught(CLEAN, clock.at))
    await pair.turn()
    await pair.turn()
    assert (await sought(pair.other, CLEAN)).entry == taught(CLEAN, clock.at).entry


async def test_a_server_that_is_away_costs_nothing_and_hears_of_all_later(
    pair: Pair, clock: Walls, server: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    server.kill()
    await pair.one.keep(taught(CLEAN, clock.at))
    await pair.turn()
    await pair.turn()
    assert (await sought(pair.one, CLEAN)).entry
    assert caplog.text.count("not shared with other gateways") == 2
    server.start()
    await pair.one.keep(taught(BUILD, clock.at))
    deadline = time.monotonic() + 10
    while not (await sought(pair.other, BUILD)).entry:
        assert time.monotonic() < deadline
        await pair.turn()
    assert (await sought(pair.other, CLEAN)).entry == taught(CLEAN, clock.at).entry
