"""Memory: the contract, its bound, and that it keeps what is asked often."""

from __future__ import annotations

import bisect
import itertools
import random
import tracemalloc
from collections import OrderedDict
from collections.abc import Callable

import hypothesis.strategies as st
import pytest
from hypothesis import given, settings

from penstock.caches import Tier
from penstock.caches.tier_memory import OVERHEAD, MemoryTier
from penstock.core.clock import SystemClock
from tests.caches.doubles import SetClock
from tests.contracts.cache_tier import TierContract, all_of, kept


class TestMemoryTier(TierContract):
    async def make(self) -> Tier:
        return MemoryTier(8 << 20, SystemClock())


class Lru:
    """What it is compared with: of the same size, the one not asked for longest goes."""

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


def trace(skew: float, scans: bool) -> list[int]:
    """Numbers of entries asked one after the other: 4,000 by Zipf's law; now and then a scan of 2,000 strangers."""
    dice = random.Random(7)
    weights = list(itertools.accumulate(1 / (rank + 1) ** skew for rank in range(4000)))
    asked: list[int] = []
    for turn in range(40_000):
        asked.append(bisect.bisect(weights, dice.random() * weights[-1]))
        if scans and turn % 8000 == 4000:
            asked += range(10**6 + turn, 10**6 + turn + 2000)
    return asked


def hit_ratio(cache: MemoryTier | Lru, asked: list[int]) -> float:
    """Of those that are no scan."""
    hits = wanted = 0
    dice = random.Random(3)
    sizes = [int(min(20_000, dice.lognormvariate(7, 1))) for _ in range(4000)]
    for number in asked:
        key = b"%020d" % number
        found = cache.look(key) is not None
        wanted += number < 10**6
        hits += found and number < 10**6
        if not found:
            cache.keep(key, bytes(sizes[number % 4000]), 1e9)
    return hits / wanted


@pytest.mark.parametrize(("skew", "scans", "better"), [(0.8, False, 1.1), (1.0, False, 1.04), (0.8, True, 1.15)])
def test_more_hits_than_the_least_recently_used(skew: float, scans: bool, better: float) -> None:
    asked, most = trace(skew, scans), 1 << 20
    assert hit_ratio(MemoryTier(most, SetClock()), asked) > better * hit_ratio(Lru(most), asked)


def test_a_scan_leaves_alone_what_is_asked_often() -> None:
    most = 1 << 20
    quiet = hit_ratio(MemoryTier(most, SetClock()), trace(0.9, False))
    scanned = hit_ratio(MemoryTier(most, SetClock()), trace(0.9, True))
    assert scanned > 0.97 * quiet


STEPS = st.lists(
    st.tuples(st.sampled_from(["keep", "look", "drop"]), st.integers(0, 30), st.integers(0, 900)), max_size=200
)


@settings(deadline=None)
@given(STEPS)
def test_never_more_than_its_bound_and_never_another_value(steps: list[tuple[str, int, int]]) -> None:
    tier, truth = MemoryTier(8192, SetClock()), dict[bytes, bytes]()
    for what, number, size in steps:
        key = b"%d" % number
        if what == "keep":
            truth[key] = b"%d" % size * (size // 4)
            tier.keep(key, truth[key], 60)
        elif what == "drop":
            truth.pop(key, None)
            tier.drop(key)
        else:
            assert tier.look(key) in (None, truth.get(key))
        assert tier.used <= 8192


@settings(deadline=None)
@given(STEPS)
async def test_it_knows_what_it_holds(steps: list[tuple[str, int, int]]) -> None:
    tier = MemoryTier(8192, SetClock())
    for what, number, size in steps:
        key = b"%d" % number
        act: Callable[[], object] = {
            "keep": lambda key=key, size=size: tier.keep(key, bytes(size), 60),
            "drop": lambda key=key: tier.drop(key),
            "look": lambda key=key: tier.look(key),
        }[what]
        act()
    held = await all_of(tier)
    assert len(held) == len(tier)
    assert sum(len(key) + len(value) + OVERHEAD for key, value in held.items()) <= tier.used


def test_what_is_larger_than_a_quarter_is_not_kept() -> None:
    tier = MemoryTier(8192, SetClock())
    tier.keep(b"a", b"1", 60)
    tier.keep(b"b", bytes(3000), 60)
    assert tier.look(b"b") is None
    assert tier.look(b"a") == b"1"
    tier.keep(b"a", bytes(3000), 60)
    assert tier.look(b"a") is None


async def test_time() -> None:
    clock = SetClock()
    tier = MemoryTier(8192, clock)
    await tier.put([kept(b"a", b"1", 10)])
    clock.pass_by(9.9)
    assert tier.look(b"a") == b"1"
    clock.pass_by(0.1)
    assert tier.look(b"a") is None
    assert len(tier) == 0


def test_the_bound_is_that_of_real_memory() -> None:
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        tier = MemoryTier(2 << 20, SetClock())
        for number in range(12_000):
            tier.keep(b"%020d" % number, b"%d" % number * 40, 60)
        grown = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    assert 0.6 * (2 << 20) < grown < 1.05 * (2 << 20)
