"""Sweeps what gateways share of caches: what was invalidated, what is past its time, what is damaged.

None of it is ever served; a sweep has it gone. It reads all that lies in the tiers, so one gateway does it, seldom,
but for a person who is to be forgotten: then at once. What a worker had on its way into a tier just then is found by
a second sweep a minute later.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Collection, Iterable
from typing import Protocol

import msgspec

from penstock.caches.chain import Swept
from penstock.control.metrics import CACHE_SWEEPS, CACHE_SWEPT
from penstock.core.caching import Invalidation
from penstock.core.clock import Clock
from penstock.core.metrics import Meter, Sample

LOOKS_EVERY_S = 1.0
DAILY_S = 86400.0
HOURLY_S = 3600.0
"""The least time from one sweep to the next, when something else than a person was invalidated."""
AGAIN_S = 60.0
"""The same for one that is urgent; what was invalidated shorter before a sweep may come in behind it."""
WITHIN_S = 1800.0
"""The longest sweep; what it has not come to is for the next one."""

_log = logging.getLogger("penstock.control")


class Shared(Protocol):
    """As ``penstock.caches.answers.Answers`` has it."""

    def invalidate(self, records: tuple[Invalidation, ...]) -> None: ...

    async def sweep(self) -> Swept: ...


class Past(msgspec.Struct, frozen=True):
    """``whole_at`` is when the last sweep began that came to its end, ``tried_at`` when the last one began, both in
    seconds since the epoch; ``seen`` is what was invalidated long enough before it, and can be nowhere any more."""

    whole_at: float
    tried_at: float
    seen: frozenset[Invalidation] = frozenset()


def begun(records: Iterable[Invalidation], now: float) -> Past:
    """For a gateway that begins at ``now``: what was invalidated a day before was seen to then."""
    seen = frozenset(each for each in records if each.at < now - DAILY_S)
    return Past(now - DAILY_S + HOURLY_S, now - AGAIN_S, seen)


def due_at(past: Past, records: Iterable[Invalidation]) -> float:
    """When it is time for the next sweep."""
    fresh = [each for each in records if each not in past.seen]
    if any(each.scope == "subject" for each in fresh):
        return past.tried_at + AGAIN_S
    hourly = max(past.whole_at, past.tried_at) + HOURLY_S
    return hourly if fresh else max(hourly, past.whole_at + DAILY_S)


class Sweeping:
    """Sweeps ``shared`` while this ``gateway`` is the first of those that are ``standing``, by name. ``told`` says
    what is invalidated; it need not be all at first."""

    def __init__(
        self,
        shared: Shared,
        *,
        gateway: str,
        standing: Callable[[], Collection[str]],
        clock: Clock,
        meter: Meter,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._shared = shared
        self._gateway = gateway
        self._standing = standing
        self._wall = clock.wall
        self._meter = meter
        self._sleep = sleep
        self._records: tuple[Invalidation, ...] = ()
        self._past: Past | None = None
        self._due_at: float | None = None

    def told(self, records: tuple[Invalidation, ...]) -> None:
        """This is all that is invalidated from now on."""
        if records != self._records:
            self._records, self._due_at = records, None

    async def run(self) -> None:
        """Until cancelled. A tier that fails is swept again later."""
        while True:
            await self.tick()
            await self._sleep(LOOKS_EVERY_S)

    async def tick(self) -> None:
        """Sweeps, if it is time. Never raises."""
        now = self._wall()
        if self._past is None:
            self._past = begun(self._records, now)
        if self._due_at is None:
            self._due_at = due_at(self._past, self._records)
        if now < self._due_at or self._gateway != min(self._standing(), default=self._gateway):
            return
        self._past, self._due_at = await self._swept(self._past, now), None

    async def _swept(self, past: Past, now: float) -> Past:
        records = self._records
        self._shared.invalidate(records)
        swept = Swept(0, False)
        try:
            async with asyncio.timeout(WITHIN_S):
                swept = await self._shared.sweep()
        except TimeoutError:
            _log.warning("a sweep of the caches took longer than %g s; the next one goes on", WITHIN_S)
        except Exception:  # noqa: BLE001 - said, and tried again; what is invalidated is not served meanwhile
            _log.exception("a sweep of the caches failed for a fault of the gateway itself")
        self._meter.record(Sample(CACHE_SWEEPS, 1, ("whole" if swept.whole else "partial",)))
        self._meter.record(Sample(CACHE_SWEPT, swept.gone))
        if not swept.whole:
            return Past(past.whole_at, now, past.seen)
        return Past(now, now, frozenset(each for each in records if each.at <= now - AGAIN_S))
