"""The contract against a real Redis, and what is its own: namespaces, what is at fault, and no secrets."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator

import pytest

from penstock.caches import Tier, TierFailed
from penstock.caches.config import RedisSettings
from penstock.caches.tier_redis import RedisTier
from penstock.core.errors import BAD_DEPLOYMENT, PenstockError
from tests.contracts.cache_tier import TierContract, all_of, kept
from tests.redis import RedisServer


@pytest.fixture(scope="module")
def server() -> Iterator[RedisServer]:
    with RedisServer() as running:
        yield running


class TestRedisTier(TierContract):
    @pytest.fixture(autouse=True)
    def _server(self, server: RedisServer) -> None:
        self.server = server
        server.ask("FLUSHALL")

    async def make(self) -> Tier:
        return RedisTier(RedisSettings(url=self.server.url))


@pytest.fixture
async def tier(server: RedisServer) -> AsyncIterator[RedisTier]:
    server.ask("FLUSHALL")
    made = RedisTier(RedisSettings(url=server.url))
    yield made
    await made.aclose()


async def test_a_namespace_is_its_own(tier: RedisTier, server: RedisServer) -> None:
    other = RedisTier(RedisSettings(url=server.url, namespace="penstock2"))
    await other.put([kept(b"a", b"theirs")])
    server.ask("SET", "stranger", "1")
    await tier.put([kept(b"a", b"ours")])
    assert await all_of(tier) == {b"a": b"ours"}
    assert await all_of(other) == {b"a": b"theirs"}
    await other.aclose()


async def test_what_is_put_expires_there(tier: RedisTier, server: RedisServer) -> None:
    await tier.put([kept(b"a", b"1", 90.5)])
    assert 80_000 < int(server.ask("PTTL", "penstock:cache:a")[1:]) <= 90_500


async def test_a_server_that_is_away_and_comes_back(tier: RedisTier, server: RedisServer) -> None:
    await tier.put([kept(b"a", b"1")])
    server.kill()
    for call in (tier.get([b"a"]), tier.put([kept(b"a", b"1")]), tier.delete([b"a"]), all_of(tier)):
        with pytest.raises(TierFailed, match="ConnectionError"):
            await call
    server.start()
    assert list(await tier.get([b"a"])) == [None]


async def test_a_server_that_is_full_says_so_and_still_answers(tier: RedisTier, server: RedisServer) -> None:
    await tier.put([kept(b"a", b"1")])
    server.ask("CONFIG", "SET", "maxmemory", "1mb")
    with pytest.raises(TierFailed, match="maxmemory") as full:
        await tier.put([kept(b"b", b"what nobody else is to read" + bytes(2 << 20)), kept(b"c", bytes(2 << 20))])
    assert "nobody" not in str(full.value)
    assert list(await tier.get([b"a"])) == [b"1"]
    server.ask("CONFIG", "SET", "maxmemory", "0")


async def test_calls_that_are_given_up_leave_connections_in_order(tier: RedisTier, server: RedisServer) -> None:
    await tier.put([kept(b"%d" % number, b"%d" % number) for number in range(50)])
    server.pause()
    try:
        for _ in range(3):
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.05):
                    await asyncio.gather(*(tier.get([b"%d" % number]) for number in range(40)))
    finally:
        server.resume()
    found = await asyncio.gather(*(tier.get([b"%d" % number]) for number in range(50)))
    assert [list(each) for each in found] == [[b"%d" % number] for number in range(50)]


def test_a_url_that_is_none() -> None:
    with pytest.raises(PenstockError, match="no URL of a Redis") as caught:
        RedisTier(RedisSettings(url="redis://me:secret@host:port/x"))
    assert caught.value.fault is BAD_DEPLOYMENT
    assert "secret" not in caught.value.message
    assert "secret" not in repr(RedisSettings(url="redis://me:secret@host"))
