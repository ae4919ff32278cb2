"""When what gateways share of caches is swept, by which of them, and what is tried again."""

from __future__ import annotations

import asyncio

import msgspec
import pytest

from penstock.caches.chain import Swept
from penstock.control import sweeping
from penstock.control.metrics import CACHE_SWEEPS, CACHE_SWEPT
from penstock.control.sweeping import AGAIN_S, DAILY_S, HOURLY_S, Past, Sweeping, begun, due_at
from penstock.core.caching import Invalidation, Scope
from penstock.observe.totals import Totals
from tests.caches.doubles import SetClock

NOW = 1_000_000.0


def record(scope: Scope = "tag", value: str = "x", at: float = NOW) -> Invalidation:
    return Invalidation(scope=scope, value=value, at=at)


ANN = record("subject", "ann")


def test_with_nothing_invalidated_it_is_done_once_a_day() -> None:
    assert due_at(Past(NOW, NOW), ()) == NOW + DAILY_S
    assert due_at(Past(NOW, NOW + 5), ()) == NOW + DAILY_S
    late = Past(NOW - DAILY_S, NOW)
    assert due_at(late, ()) == NOW + HOURLY_S, "one that fails is tried again, not more often than one that is needed"


def test_what_was_invalidated_is_swept_within_the_hour_and_a_person_at_once() -> None:
    past = Past(NOW, NOW)
    assert due_at(past, (record(),)) == NOW + HOURLY_S
    assert due_at(past, (record(), ANN)) == NOW + AGAIN_S
    assert due_at(msgspec.structs.replace(past, seen=frozenset({ANN})), (ANN,)) == NOW + DAILY_S


def test_at_its_begin_a_gateway_waits_but_for_a_person_of_the_last_day() -> None:
    assert due_at(begun((), NOW), ()) == NOW + HOURLY_S
    assert due_at(begun((ANN,), NOW), (ANN,)) == NOW
    old = msgspec.structs.replace(ANN, at=NOW - DAILY_S - 1)
    assert due_at(begun((old,), NOW), (old,)) == NOW + HOURLY_S


class Tiers:
    """Remembers what was invalidated at each sweep."""

    def __init__(self) -> None:
        self.records: tuple[Invalidation, ...] = ()
        self.sweeps: list[tuple[Invalidation, ...]] = []
        self.swept = Swept(3, True)
        self.fails: Exception | None = None
        self.hangs = False

    def invalidate(self, records: tuple[Invalidation, ...]) -> None:
        self.records = records

    async def sweep(self) -> Swept:
        self.sweeps.append(self.records)
        if self.hangs:
            await asyncio.Event().wait()
        if self.fails is not None:
            raise self.fails
        return self.swept


class House:
    def __init__(self, *standing: str) -> None:
        self.tiers = Tiers()
        self.clock = SetClock(NOW)
        self.meter = Totals((CACHE_SWEEPS, CACHE_SWEPT))
        self.standing = standing or ("g1",)
        self.sweeping = Sweeping(
            self.tiers, gateway="g1", standing=lambda: self.standing, clock=self.clock, meter=self.meter
        )

    async def after(self, seconds: float) -> int:
        """How many sweeps there were when this time has passed."""
        self.clock.pass_by(seconds)
        await self.sweeping.tick()
        return len(self.tiers.sweeps)

    def measured(self) -> dict[str, float]:
        report = self.meter.report().metrics
        return {
            ":".join((name.removeprefix("penstock_cache_"), *each.labels)): each.values[0]
            for name, series in report.items()
            for each in series
        }


async def test_a_person_is_swept_at_once_and_again_for_what_was_on_its_way() -> None:
    house = House()
    assert await house.after(0) == 0
    house.clock.pass_by(500)
    ann = record("subject", "ann", house.clock.wall())
    house.sweeping.told((ann,))
    assert await house.after(0) == 1
    assert house.tiers.sweeps == [(ann,)]
    assert await house.after(AGAIN_S - 1) == 1
    assert await house.after(1) == 2
    assert await house.after(HOURLY_S * 2) == 2
    assert await house.after(DAILY_S) == 3
    assert house.measured() == {"sweeps:whole": 3.0, "swept_entries": 9.0}


async def test_one_that_fails_or_is_not_whole_is_tried_again() -> None:
    house = House()
    house.sweeping.told((record("subject", "ann", NOW - 120),))
    house.tiers.fails = RuntimeError("no")
    assert await house.after(0) == 1
    house.tiers.fails, house.tiers.swept = None, Swept(2, False)
    assert await house.after(AGAIN_S) == 2
    house.tiers.swept = Swept(1, True)
    assert await house.after(AGAIN_S) == 3
    assert await house.after(AGAIN_S) == 3
    assert house.measured() == {"sweeps:whole": 1.0, "sweeps:partial": 2.0, "swept_entries": 3.0}


async def test_one_that_takes_too_long_is_broken_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sweeping, "WITHIN_S", 0.01)
    house = House()
    house.tiers.hangs = True
    assert await house.after(0) == 0
    async with asyncio.timeout(5):
        assert await house.after(HOURLY_S) == 1
    assert house.measured()["sweeps:partial"] == 1.0


async def test_the_first_that_stands_does_it() -> None:
    house = House("g0", "g1")
    house.sweeping.told((record("subject", "ann"),))
    assert await house.after(0) == 0
    house.standing = ("g1", "g2")
    assert await house.after(1) == 1


async def test_what_is_told_again_changes_nothing() -> None:
    house = House()
    house.sweeping.told((record(),))
    assert await house.after(0) == 0
    house.sweeping.told((record(),))
    assert await house.after(HOURLY_S - 1) == 1
    assert await house.after(1) == 1
    house.sweeping.told((record(), record(value="y")))
    assert await house.after(HOURLY_S) == 2


async def test_it_looks_until_it_is_cancelled() -> None:
    house = House()
    looked = 0

    async def sleep(seconds: float) -> None:
        nonlocal looked
        looked += 1
        house.clock.pass_by(HOURLY_S)
        if looked == 3:
            raise asyncio.CancelledError

    house.sweeping._sleep = sleep
    with pytest.raises(asyncio.CancelledError):
        await house.sweeping.run()
    assert len(house.tiers.sweeps) == 1
