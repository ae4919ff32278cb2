"""A person is to be forgotten: what a gateway kept in Redis and in S3 is gone from there, and measured."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from penstock.assembly.caching import Caches
from penstock.assembly.metrics import ROWS
from penstock.assembly.sweeping import Sweeper
from penstock.caches.config import CacheSettings, RedisSettings, S3Settings
from penstock.caches.control import CacheControl
from penstock.core.caching import CacheKey, Invalidation, subject_digest
from penstock.core.clock import SystemClock
from penstock.core.errors import PenstockError
from penstock.observe.totals import Totals
from tests.caches.buckets import BUCKET, S3Server
from tests.caches.doubles import entry_of
from tests.control.timing import until
from tests.redis import RedisServer

CLOCK = SystemClock()
ANN, BOB = b"a" * 20, b"b" * 20


@pytest.fixture(scope="module")
def s3() -> Iterator[S3Server]:
    with S3Server() as server:
        yield server


@pytest.fixture
def settings(s3: S3Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[CacheSettings]:
    for name, value in s3.environment.items():
        monkeypatch.setenv(name, value)
    with RedisServer() as redis:
        yield CacheSettings(
            memory=0,
            redis=RedisSettings(url=redis.url, read_s=5.0, write_s=5.0),
            s3=S3Settings(place=f"s3://{BUCKET}/answers", read_s=5.0),
        )


def counted(sweeper: Sweeper, name: str) -> float:
    return sum(each.values[0] for each in sweeper.measured()[name])


async def test_what_was_kept_for_a_person_is_gone_from_redis_and_s3(settings: CacheSettings) -> None:
    worker = Caches(settings, clock=CLOCK, meter=Totals(ROWS))
    for key, name in ((ANN, "ann"), (BOB, "bob")):
        worker.answers.keep(entry_of(key, created_at=CLOCK.wall(), subject=subject_digest(name)))
    await until(lambda: not any(worker.measured().values()), 10)
    await worker.aclose()
    sweeper = Sweeper(settings, CLOCK, gateway="g", standing=lambda: ("g",))
    async with sweeper.running():
        gone = Invalidation(scope="subject", value=subject_digest("ann"), at=CLOCK.wall())
        sweeper.told((gone,))
        await until(lambda: counted(sweeper, "penstock_cache_sweeps") == 1, 20)
    assert counted(sweeper, "penstock_cache_swept_entries") == 2
    other = Caches(settings, clock=CLOCK, meter=Totals(ROWS))
    assert await other.answers.find(CacheKey(ANN), CacheControl()) is None
    assert await other.answers.find(CacheKey(BOB), CacheControl()) is not None
    await other.aclose()


async def test_where_nothing_is_shared_there_is_nothing_to_sweep() -> None:
    sweeper = Sweeper(CacheSettings(), CLOCK, gateway="g", standing=lambda: ("g",))
    sweeper.told((Invalidation(scope="subject", value="x" * 32, at=CLOCK.wall()),))
    async with sweeper.running():
        await asyncio.sleep(0)
    assert counted(sweeper, "penstock_cache_swept_entries") == 0
    assert not sweeper.measured()["penstock_cache_tier_reads"]


def test_a_store_that_cannot_be_used_stops_the_start() -> None:
    with pytest.raises(PenstockError, match="no URL of a Redis"):
        Sweeper(CacheSettings(redis=RedisSettings(url="redis://h:x")), CLOCK, gateway="g", standing=lambda: ("g",))
