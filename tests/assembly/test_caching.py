"""Caches as the deployment file has them: which tiers there are, what is loaded for them, how they end."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest

from penstock import catalog
from penstock.assembly import caching
from penstock.assembly.caching import Caches
from penstock.assembly.metrics import ROWS
from penstock.caches import metrics
from penstock.caches.config import CacheSettings, RedisSettings
from penstock.caches.control import CacheControl
from penstock.core.caching import CacheKey
from penstock.core.clock import SystemClock
from penstock.core.errors import BAD_DEPLOYMENT, PenstockError
from penstock.observe.totals import Totals
from tests.caches.doubles import entry_of
from tests.redis import RedisServer

KEY = CacheKey(b"k" * 20)


@pytest.fixture
def redis() -> Iterator[RedisServer]:
    with RedisServer() as server:
        yield server


def caches(settings: CacheSettings, *, memory: bool = True) -> Caches:
    return Caches(settings, clock=SystemClock(), meter=Totals(ROWS), memory=memory)


async def test_answers_are_kept_in_memory_and_nothing_else_is_asked_for() -> None:
    kept = caches(CacheSettings())
    assert kept.answers.keep(entry_of(created_at=time.time()))
    assert not kept.answers.deep
    assert kept.answers.look(KEY, CacheControl()) is not None
    assert kept.measured() == {}
    await kept.aclose()
    assert kept.answers.look(KEY, CacheControl()) is None


async def test_without_memory_nothing_is_kept_in_it() -> None:
    for kept in (caches(CacheSettings(memory=0)), caches(CacheSettings(), memory=False)):
        kept.answers.keep(entry_of(created_at=time.time()))
        assert await kept.answers.find(KEY, CacheControl()) is None
        await kept.aclose()


async def test_what_one_process_kept_another_finds_in_redis(redis: RedisServer) -> None:
    settings = CacheSettings(redis=RedisSettings(url=redis.url, read_s=2.0))
    one, other = caches(settings), caches(settings)
    one.answers.keep(entry_of(created_at=time.time()))
    # What waits is written before the end.
    assert one.measured() == {("redis",): 1.0}
    await one.aclose()
    assert other.answers.deep
    assert await other.answers.find(KEY, CacheControl()) is not None
    await other.aclose()


async def test_a_redis_that_is_away_is_a_miss() -> None:
    kept = caches(CacheSettings(redis=RedisSettings(url="redis://127.0.0.1:1/0")))
    kept.answers.keep(entry_of(created_at=time.time()))
    assert await kept.answers.find(CacheKey(b"x" * 20), CacheControl()) is None
    assert kept.answers.look(KEY, CacheControl()) is not None
    await kept.aclose()


async def test_the_end_is_not_waited_for_longer_than_it_may_take(monkeypatch: pytest.MonkeyPatch) -> None:
    kept = caches(CacheSettings())

    async def never() -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr(kept._chain, "aclose", never)
    monkeypatch.setattr(caching, "CLOSES_WITHIN_S", 0.01)
    async with asyncio.timeout(5):
        await kept.aclose()


@pytest.mark.parametrize(
    ("url", "says"), [("http://:hush@h", "`cache: redis: url`"), ("redis://h:many", "`cache: redis: url`")]
)
async def test_a_url_of_no_redis_stops_the_start(url: str, says: str) -> None:
    with pytest.raises(PenstockError, match=says) as caught:
        caches(CacheSettings(redis=RedisSettings(url=url)))
    assert caught.value.fault is BAD_DEPLOYMENT
    assert "hush" not in str(caught.value)


async def test_a_package_that_is_missing_stops_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(catalog, "ENTRIES", {"tier.redis": "nowhere_to_be_found:RedisTier"})
    with pytest.raises(PenstockError, match=r"`tier\.redis` needs the package nowhere_to_be_found") as caught:
        caches(CacheSettings(redis=RedisSettings(url="redis://h")))
    assert caught.value.fault is BAD_DEPLOYMENT


def test_what_tiers_need_is_loaded_only_where_they_are_set() -> None:
    script = "import sys, penstock.assembly.caching; print(*({'redis', 'obstore'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


def test_what_tiers_say_is_measured() -> None:
    assert set(metrics.ROWS) <= set(ROWS)
