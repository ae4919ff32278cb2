"""The chain over tiers that fail, hang, lie and fill up; with a clock that is set."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Sequence

import pytest

from penstock.caches import Items, Kept, TierFailed
from penstock.caches.breaker import FAILURES, REST_S
from penstock.caches.chain import Chain, Swept
from penstock.caches.guarded import GuardedTier
from penstock.caches.seal import opened, seal
from penstock.caches.tier_memory import MemoryTier
from tests.caches.doubles import SetClock, Sums


class Wayward:
    """A tier in a dictionary, as bad as it is told to be."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.held: dict[bytes, bytes] = {}
        self.fails = False
        self.gate = asyncio.Event()
        self.gate.set()
        self.calls = 0
        self.closed = False

    async def get(self, keys: Sequence[bytes]) -> Sequence[bytes | None]:
        await self._called()
        return [self.held.get(key) for key in keys]

    async def put(self, items: Sequence[Kept]) -> None:
        await self._called()
        self.held.update({item.key: item.value for item in items})

    async def delete(self, keys: Sequence[bytes]) -> None:
        await self._called()
        for key in keys:
            self.held.pop(key, None)

    async def walk(self) -> AsyncIterator[Items]:
        await self._called()
        for key, value in list(self.held.items()):
            yield [(key, value)]

    async def aclose(self) -> None:
        self.closed = True

    async def _called(self) -> None:
        self.calls += 1
        await self.gate.wait()
        if self.fails:
            raise TierFailed("as told")


class House:
    """Memory, a near and a far tier, with what they report."""

    def __init__(self, *, memory: bool = True, most_waiting: int = 100, most_waiting_bytes: int = 1 << 20) -> None:
        self.clock, self.sums = SetClock(), Sums()
        self.near, self.far = Wayward("redis"), Wayward("s3")
        self.memory = MemoryTier(1 << 20, self.clock) if memory else None
        guarded = [
            GuardedTier(
                tier,
                read_s=0.05,
                write_s=0.05,
                compress_from=100,
                most_waiting=most_waiting,
                most_waiting_bytes=most_waiting_bytes,
                most_keys=10,
                clock=self.clock,
                meter=self.sums,
            )
            for tier in (self.near, self.far)
        ]
        self.chain = Chain(self.memory, guarded, clock=self.clock, meter=self.sums)

    @property
    def until(self) -> float:
        return self.clock.wall() + 60

    async def written(self, count: int) -> None:
        """Waits until so many entries were dealt with."""
        deadline = time.monotonic() + 5
        while sum(value for name, value in self.sums.of.items() if name[0] == "writes") < count:
            assert time.monotonic() < deadline
            await asyncio.sleep(0.001)


async def test_a_value_goes_everywhere_and_comes_from_the_nearest() -> None:
    house = House()
    house.chain.put(b"a", b"1" * 500, house.until)
    assert house.chain.look(b"a") == b"1" * 500
    await house.written(2)
    assert opened(b"a", house.near.held[b"a"]).value == b"1" * 500
    assert len(house.far.held[b"a"]) < 100
    calls = house.near.calls
    assert await house.chain.get([b"a"]) == [b"1" * 500]
    assert house.near.calls == calls


async def test_what_is_found_far_is_put_near() -> None:
    house = House()
    house.far.held[b"a"] = seal(b"a", b"far", house.until, compress_from=0)
    house.near.held[b"b"] = seal(b"b", b"near", house.until, compress_from=0)
    assert await house.chain.get([b"a", b"none", b"b", b"a"]) == [b"far", None, b"near", b"far"]
    await house.written(1)
    assert set(house.near.held) == {b"a", b"b"}
    assert set(house.far.held) == {b"a"}
    assert house.chain.look(b"a") == b"far"
    assert house.chain.look(b"b") == b"near"
    house.clock.pass_by(60)
    assert house.chain.look(b"a") is None


async def test_damaged_mixed_up_and_outdated_values_are_misses() -> None:
    house = House()
    good = seal(b"a", b"1", house.until, compress_from=0)
    house.near.held = {b"a": good[:-1], b"b": good, b"c": b"", b"d": seal(b"d", b"1", 5.0, compress_from=0)}
    assert await house.chain.get([b"a", b"b", b"c", b"d"]) == [None] * 4
    assert house.sums.of["reads", "redis", "damaged"] == 3
    assert house.sums.of["reads", "redis", "expired"] == 1


@pytest.mark.parametrize("how", ["fails", "hangs"])
async def test_a_tier_that_does_not_work_is_passed_over_until_it_does(how: str) -> None:
    house = House(memory=False)
    house.far.held[b"a"] = seal(b"a", b"far", house.until, compress_from=0)
    house.near.fails = how == "fails"
    if how == "hangs":
        house.near.gate.clear()
    for _ in range(FAILURES + 5):
        assert await house.chain.get([b"a"]) == [b"far"]
    assert house.sums.of["reads", "redis", "late" if how == "hangs" else "failed"] == FAILURES
    assert house.sums.of["reads", "redis", "resting"] == 5
    house.near.fails = False
    house.near.gate.set()
    house.near.held[b"a"] = seal(b"a", b"near", house.until, compress_from=0)
    assert await house.chain.get([b"a"]) == [b"far"]
    house.clock.pass_by(REST_S)
    # What was found far may have been written near meanwhile.
    assert await house.chain.get([b"a"]) in ([b"near"], [b"far"])
    assert house.sums.of["reads", "redis", "hit"] == 1
    await house.chain.aclose()


async def test_a_trial_that_is_cancelled_is_not_the_last() -> None:
    house = House(memory=False)
    house.near.fails = True
    for _ in range(FAILURES):
        await house.chain.get([b"a"])
    house.clock.pass_by(REST_S)
    house.near.fails = False
    house.near.gate.clear()
    trial = asyncio.create_task(house.chain.get([b"a"]))
    await asyncio.sleep(0)
    trial.cancel()
    await asyncio.gather(trial, return_exceptions=True)
    house.near.gate.set()
    calls = house.near.calls
    await house.chain.get([b"a"])
    assert house.near.calls == calls + 1


async def test_a_tier_that_cannot_be_written_is_still_read() -> None:
    house = House(memory=False)
    house.near.held[b"a"] = seal(b"a", b"1", house.until, compress_from=0)
    house.near.fails = True
    for number in range(FAILURES + 2):
        house.chain.put(b"x%d" % number, b"1", house.until)
        await house.written(2 * (number + 1))
    house.near.fails = False
    assert house.sums.of["writes", "redis", "failed"] == FAILURES
    assert house.sums.of["writes", "redis", "resting"] == 2
    assert house.sums.of["writes", "s3", "written"] == FAILURES + 2
    assert await house.chain.get([b"a"]) == [b"1"]


async def test_writes_wait_in_a_bounded_queue_and_one_key_waits_once() -> None:
    house = House(most_waiting=10)
    house.near.gate.clear()
    for number in range(100):
        house.chain.put(b"%d" % (number % 30), b"%d" % number, house.until)
    assert house.sums.of["writes", "redis", "shed"] == 100 - 10 - 20 * 0 - sum(
        1 for n in range(30, 100) if n % 30 < 10
    )
    house.near.gate.set()
    await house.chain.aclose()
    assert {key: opened(key, value).value for key, value in house.near.held.items()} == {
        b"%d" % number: b"%d" % (90 + number) for number in range(10)
    }
    assert house.near.closed
    assert house.far.closed


async def test_the_queue_is_bounded_in_bytes() -> None:
    house = House(most_waiting_bytes=10_000)
    house.near.gate.clear()
    for number in range(10):
        house.chain.put(b"%d" % number, bytes(4000), house.until)
    assert house.sums.of["writes", "redis", "shed"] == 8
    house.near.gate.set()
    await house.written(20)
    assert len(house.near.held) == 2


async def test_closing_waits_for_a_tier_that_hangs_no_longer_than_it_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("penstock.caches.guarded.DRAIN_S", 0.01)
    house = House()
    house.near.gate.clear()
    house.chain.put(b"a", b"1", house.until)
    async with asyncio.timeout(5):
        await house.chain.aclose()
        await house.chain.aclose()
    assert house.near.closed


async def test_what_is_deleted_while_it_waits_is_not_written() -> None:
    house = House()
    house.chain.put(b"a", b"1", house.until)
    assert await house.chain.delete([b"a"])
    assert await house.chain.get([b"a"]) == [None]
    house.near.fails = True
    assert not await house.chain.delete([b"a"])
    await house.chain.aclose()
    assert house.near.held == {}


async def test_a_sweep_takes_what_is_dead_damaged_or_past_its_time() -> None:
    house = House()
    for tier in (house.near, house.far):
        tier.held = {key: seal(key, key, house.until, compress_from=0) for key in (b"dead", b"live")}
        tier.held[b"old"] = seal(b"old", b"live", 5.0, compress_from=0)
        tier.held[b"bad"] = b"bad"
    assert await house.chain.sweep(lambda _, value: value == b"dead") == Swept(6, whole=True)
    assert set(house.near.held) == set(house.far.held) == {b"live"}
    house.near.fails = True
    house.far.held[b"dead"] = seal(b"dead", b"dead", house.until, compress_from=0)
    assert await house.chain.sweep(lambda _, value: value == b"dead") == Swept(1, whole=False)


async def test_memory_is_swept_by_itself() -> None:
    house = House()
    for number in range(600):
        house.chain.put(b"%d" % number, b"%d" % (number % 3), house.until)
    assert await house.chain.sweep_memory(lambda _, value: value == b"0") == 200
    assert house.chain.look(b"3") is None
    assert house.chain.look(b"4") == b"1"
    await house.chain.aclose()


async def test_large_values_are_packed_beside_the_loop() -> None:
    house = House(memory=False)
    value = b"some words " * 20_000
    house.chain.put(b"a", value, house.until)
    await house.written(2)
    assert await house.chain.get([b"a"]) == [value]


async def test_for_many_at_once_a_tier_is_not_asked() -> None:
    house = House()
    house.near.held[b"1"] = seal(b"1", b"x", house.until, compress_from=0)
    assert await house.chain.get([b"%d" % number for number in range(11)]) == [None] * 11
    assert house.near.calls == 0
    assert (await house.chain.get([b"%d" % number for number in range(10)]))[1] == b"x"


async def test_without_any_tier_nothing_is_kept() -> None:
    house = House()
    chain = Chain(None, clock=house.clock, meter=house.sums)
    chain.put(b"a", b"1", house.until)
    assert await chain.get([b"a"]) == [None]
    assert not chain.deep
    assert await chain.sweep_memory(lambda *_: True) == 0
    await chain.aclose()


async def test_looks_into_memory_are_counted_when_asked_for_and_at_the_end() -> None:
    clock, sums = SetClock(), Sums()
    chain = Chain(MemoryTier(1 << 20, clock), clock=clock, meter=sums)
    chain.put(b"k", b"v", clock.wall() + 60)
    assert (chain.look(b"k"), chain.look(b"none")) == (b"v", None)
    chain.measured()
    chain.look(b"k")
    await chain.aclose()
    await chain.aclose()
    assert (sums.of["reads", "memory", "hit"], sums.of["reads", "memory", "miss"]) == (2, 1)
