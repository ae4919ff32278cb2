"""What a cached answer costs: the key of a request, a hit, a put, and each tier's get and put, in microseconds; and
how many hits the memory tier has beside one that drops what was asked least recently.

Redis and S3 are servers of its own on this machine (redis-server, moto), so that the cost is that of the way and of
our code; moto's own, in Python, is most of what is shown for S3. ``python -m benchmarks.cache_tiers``.
"""

from __future__ import annotations

import asyncio
import bisect
import itertools
import json
import os
import random
import statistics
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable

from penstock.caches import Kept, Tier
from penstock.caches.answers import Answers, packed
from penstock.caches.canonical import key_of
from penstock.caches.chain import Chain
from penstock.caches.config import RedisSettings, S3Settings
from penstock.caches.control import CacheControl
from penstock.caches.recorded import again
from penstock.caches.seal import opened, seal
from penstock.caches.tier_memory import OVERHEAD, MemoryTier
from penstock.caches.tier_redis import RedisTier
from penstock.caches.tier_s3 import S3Tier
from penstock.core.caching import CacheKey, Entry
from penstock.core.chat import Call, Kind, Usage
from penstock.core.clock import SystemClock
from penstock.core.metrics import Sample
from penstock.core.splice import members
from tests.caches.buckets import BUCKET, S3Server
from tests.redis import RedisServer

ROUNDS = 7
CHUNKS = 100


class _Deaf:
    def record(self, sample: Sample) -> None:
        """Forgets it."""


def _call() -> Call:
    messages = [{"role": "system", "content": "You help. " * 20}, {"role": "user", "content": "Why so? " * 40}]
    body = {"model": "chat", "messages": messages, "temperature": 0, "max_tokens": 256, "stream": True}
    return Call("r", Kind.CHAT, "chat", members(json.dumps(body).encode()), stream=True)


def _entry(key: CacheKey, clock: SystemClock) -> Entry:
    choice = {"index": 0, "delta": {"content": " word"}, "finish_reason": None}
    chunk = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [choice]}
    return Entry(
        key=key.digest,
        kind=Kind.CHAT,
        chunks=(json.dumps(chunk).encode(),) * CHUNKS,
        streamed=True,
        usage=Usage(prompt=150, completion=CHUNKS),
        created_at=clock.wall(),
        fresh_for_s=3600.0,
        service="chat",
        release="rel_0123456789abcdef",
        project="red",
    )


def _timed(what: Callable[[], object], times: int = 2000) -> float:
    def run() -> float:
        started = time.perf_counter()
        for _ in range(times):
            what()
        return (time.perf_counter() - started) / times * 1e6

    return min(run() for _ in range(ROUNDS))


async def _waited(what: Callable[[], Awaitable[object]], times: int) -> float:
    laps = []
    for _ in range(times):
        started = time.perf_counter()
        await what()
        laps.append((time.perf_counter() - started) * 1e6)
    return statistics.median(laps)


def _shown(name: str, microseconds: float) -> None:
    print(f"{name:48}{microseconds:10.1f}", flush=True)


def _own() -> None:
    clock, call = SystemClock(), _call()
    key = key_of(call, project="red", release="rel_0123456789abcdef")
    assert key is not None
    answers = Answers(Chain(MemoryTier(64 << 20, clock), clock=clock, meter=_Deaf()), clock=clock)
    entry, said = _entry(key, clock), CacheControl()
    answers.keep(entry)
    value = packed(entry)
    sealed = seal(key.digest, value, 1.0, compress_from=1024)
    _shown("key of a chat of 600 bytes", _timed(lambda: key_of(call, project="red", release="rel_0123456789abcdef")))
    _shown(f"hit in memory, {CHUNKS} chunks", _timed(lambda: answers.look(key, said)))
    _shown("put, memory only", _timed(lambda: answers.keep(entry)))
    _shown(f"a stream of {CHUNKS} chunks as one object", _timed(lambda: again(entry, stream=False), 200))
    _shown(f"seal {len(value)} bytes to {len(sealed)}", _timed(lambda: seal(key.digest, value, 1.0, compress_from=1)))
    _shown("open the seal", _timed(lambda: opened(key.digest, sealed)))


async def _of_tier(tier: Tier, value: bytes, times: int) -> None:
    item = Kept(b"k" * 20, value, 600.0)
    _shown(f"{tier.name}: put {len(value)} bytes", await _waited(lambda: tier.put([item]), times))
    _shown(f"{tier.name}: get", await _waited(lambda: tier.get([item.key]), times))
    _shown(f"{tier.name}: get what it has not", await _waited(lambda: tier.get([b"none"]), times))
    await tier.aclose()


async def _tiers() -> None:
    value = os.urandom(2000)
    await _of_tier(MemoryTier(64 << 20, SystemClock()), value, 5000)
    with RedisServer() as redis:
        await _of_tier(RedisTier(RedisSettings(url=redis.url)), value, 1000)
    with S3Server() as s3:
        os.environ.update(s3.environment)
        await _of_tier(S3Tier(S3Settings(place=f"s3://{BUCKET}/bench")), value, 100)


class _Lru:
    def __init__(self, most_bytes: int) -> None:
        self._most, self._used = most_bytes, 0
        self._held: OrderedDict[bytes, bytes] = OrderedDict()

    def look(self, key: bytes) -> bytes | None:
        if key in self._held:
            self._held.move_to_end(key)
        return self._held.get(key)

    def keep(self, key: bytes, value: bytes, _: float) -> None:
        self._held[key] = value
        self._used += len(key) + len(value) + OVERHEAD
        while self._used > self._most:
            gone, what = self._held.popitem(last=False)
            self._used -= len(gone) + len(what) + OVERHEAD


def _ratio(cache: MemoryTier | _Lru, skew: float, scans: bool) -> float:
    """Hits among 150,000 requests for 20,000 entries of about 1.8 kB by Zipf's law; scans of 8,000 strangers go
    between."""
    dice = random.Random(1)
    weights = list(itertools.accumulate(1 / (rank + 1) ** skew for rank in range(20_000)))
    sizes = [int(min(20_000, dice.lognormvariate(7, 1))) for _ in range(20_000)]
    hits = 0
    for turn in range(150_000):
        strangers = range(10**6 + turn, 10**6 + turn + 8000) if scans and turn % 30_000 == 15_000 else range(0)
        for number in (bisect.bisect(weights, dice.random() * weights[-1]), *strangers):
            key = b"%020d" % number
            if cache.look(key) is None:
                cache.keep(key, bytes(sizes[number % 20_000]), 1e9)
            elif number < 10**6:
                hits += 1
    return hits / 150_000


def main() -> None:
    """Prints the tables."""
    print(f"{'':48}{'us':>10}")
    _own()
    asyncio.run(_tiers())
    print(f"\n{'hits in 8 MiB':48}{'S3-FIFO':>10}{'LRU':>10}")
    for skew, scans in itertools.product((0.7, 0.9, 1.1), (False, True)):
        ours, lru = _ratio(MemoryTier(8 << 20, SystemClock()), skew, scans), _ratio(_Lru(8 << 20), skew, scans)
        print(f"{f'Zipf {skew}' + (', with scans' if scans else ''):48}{ours:10.1%}{lru:10.1%}", flush=True)


if __name__ == "__main__":
    main()
