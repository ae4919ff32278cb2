"""Redis and S3, killed, hung and damaged under load: no request fails, none is answered wrongly, and the rate of hits
comes back.

Two gateways without memory of their own, so that every hit is the tier's.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from typing import NamedTuple

import pytest

from penstock.caches import Kept, Tier
from penstock.caches.answers import Answers
from penstock.caches.chain import Chain
from penstock.caches.config import RedisSettings, S3Settings
from penstock.caches.control import CacheControl
from penstock.caches.flight import Flights
from penstock.caches.guarded import GuardedTier
from penstock.caches.tier_redis import RedisTier
from penstock.caches.tier_s3 import S3Tier
from penstock.core.caching import CacheKey, Entry
from penstock.core.clock import SystemClock
from tests.caches.buckets import BUCKET, S3Server
from tests.caches.doubles import Sums, entry_of
from tests.redis import RedisServer

READ_S = 1.0
"""The S3 of these tests is slow, and slower beside other tests; late is what hangs."""
BACK_S = 60.0
QUESTIONS = 30


def key_of(question: int) -> CacheKey:
    return CacheKey(b"%020d" % question)


def answer(question: int) -> bytes:
    return b'{"answer":"%d"}' % question * (1 + question % 40)


class Gateway:
    """Answers questions from the cache, else makes the answer."""

    def __init__(self, tier: Tier) -> None:
        self.sums = Sums()
        self.clock = SystemClock()
        guarded = GuardedTier(
            tier,
            read_s=READ_S,
            write_s=2.0,
            compress_from=500,
            most_waiting=200,
            most_waiting_bytes=1 << 20,
            clock=self.clock,
            meter=self.sums,
        )
        self.chain = Chain(None, [guarded], clock=self.clock, meter=self.sums)
        self.answers = Answers(self.chain, clock=self.clock)
        self.flights: Flights[Entry] = Flights()
        self.hits: list[bool] = []
        self.slowest = 0.0

    async def ask(self, question: int) -> None:
        started = time.monotonic()
        key = key_of(question)
        seat = await self.flights.seat(key.digest, 5.0)
        entry, hit = seat.value, True
        try:
            if entry is None:
                found = await self.answers.find(key, CacheControl())
                entry, hit = found.entry if found else None, found is not None
            if entry is None:
                entry = entry_of(key.digest, chunks=(answer(question),), created_at=self.clock.wall())
                self.answers.keep(entry)
            seat.land(entry)
        finally:
            seat.leave()
        assert entry.chunks == (answer(question),)
        self.hits.append(hit)
        self.slowest = max(self.slowest, time.monotonic() - started)


class Load:
    """Questions without a pause, eight at a time; a failed one fails the test."""

    def __init__(self, gateways: list[Gateway]) -> None:
        self.gateways = gateways
        self._dice = random.Random(5)
        self._stopping = False
        self._tasks = [asyncio.create_task(self._run(gateway)) for gateway in gateways for _ in range(4)]

    async def _run(self, gateway: Gateway) -> None:
        while not self._stopping:
            await gateway.ask(int(self._dice.triangular(0, QUESTIONS, 0)))
            await asyncio.sleep(0)

    @property
    def asked(self) -> int:
        return sum(len(gateway.hits) for gateway in self.gateways)

    async def more(self, count: int) -> float:
        """Waits for so many more questions; the share of hits among them."""
        starts = [len(gateway.hits) for gateway in self.gateways]
        end, deadline = self.asked + count, time.monotonic() + BACK_S
        while self.asked < end:
            assert time.monotonic() < deadline
            assert not any(task.done() for task in self._tasks), [task for task in self._tasks if task.done()]
            await asyncio.sleep(0.005)
        fresh = [hit for gateway, start in zip(self.gateways, starts, strict=True) for hit in gateway.hits[start:]]
        return sum(fresh) / len(fresh)

    async def until(self, share: float) -> None:
        """Waits until so many of 100 questions are hits."""
        deadline = time.monotonic() + BACK_S
        while await self.more(100) < share:
            assert time.monotonic() < deadline, "the hits do not come back"

    async def stop(self) -> None:
        self._stopping = True
        await asyncio.gather(*self._tasks)


class Place(NamedTuple):
    """A server, the gateways that use it, and a way behind their backs."""

    server: RedisServer | S3Server
    gateways: list[Gateway]
    behind: Tier

    def count(self, outcome: str) -> float:
        return sum(gateway.sums.of["reads", self.behind.name, outcome] for gateway in self.gateways)


@pytest.fixture(scope="module")
def redis() -> Iterator[RedisServer]:
    with RedisServer() as running:
        yield running


@pytest.fixture(scope="module")
def s3() -> Iterator[S3Server]:
    with S3Server() as running:
        yield running


@pytest.fixture(params=["redis", "s3"])
async def place(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Place]:
    server = request.getfixturevalue(request.param)
    tiers: list[Tier]
    if isinstance(server, RedisServer):
        server.ask("FLUSHALL")
        tiers = [RedisTier(RedisSettings(url=server.url)) for _ in range(3)]
    else:
        for name, value in server.environment.items():
            monkeypatch.setenv(name, value)
        server.empty()
        tiers = [S3Tier(S3Settings(place=f"s3://{BUCKET}/p", read_s=READ_S, write_s=2.0)) for _ in range(3)]
    made = Place(server, [Gateway(tier) for tier in tiers[:2]], tiers[2])
    yield made
    for gateway in made.gateways:
        await gateway.chain.aclose()
    await made.behind.aclose()


async def test_killed(place: Place) -> None:
    load = Load(place.gateways)
    await load.until(0.9)
    await asyncio.to_thread(place.server.kill)
    assert await load.more(150) < 0.9
    await asyncio.to_thread(place.server.start)
    await load.until(0.9)
    await load.stop()
    assert place.count("failed") > 0


async def test_hung(place: Place) -> None:
    load = Load(place.gateways)
    await load.until(0.9)
    for gateway in place.gateways:
        gateway.slowest = 0.0
    place.server.pause()
    try:
        await load.more(150)
        assert place.count("late") > 0
        assert place.count("resting") > 0
    finally:
        place.server.resume()
    await load.until(0.9)
    await load.stop()
    # Once for the tier, once for a leader whose tier hung; with what a busy machine adds.
    assert max(gateway.slowest for gateway in place.gateways) < 2 * READ_S + 2.0


async def test_damaged(place: Place) -> None:
    load = Load(place.gateways)
    await load.until(0.9)
    before = place.count("damaged")
    for turn in range(4):
        async for batch in place.behind.walk():
            bad = zip(batch, worse([value for _, value in batch], turn), strict=True)
            await place.behind.put([Kept(key, value, 60.0) for (key, _), value in bad])
        await load.more(30)
    assert place.count("damaged") > before
    await load.until(0.9)
    await load.stop()


def worse(values: Sequence[bytes], turn: int) -> Iterator[bytes]:
    """Each value with a bit flipped, cut off, or under another's key."""
    for number, value in enumerate(values):
        how = (number + turn) % 3
        if how == 0:
            at = random.Random(number + 1000 * turn).randrange(max(1, len(value)))
            yield value[:at] + bytes([value[at] ^ 4]) + value[at + 1 :] if value else b"x"
        elif how == 1:
            yield value[: len(value) // 2]
        else:
            yield values[number - 1] if len(values) > 1 else b""
