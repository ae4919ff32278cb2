"""The chain of tiers: each key is looked for in the nearest first, and what is found is put into those before."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence

import msgspec

from penstock.caches import TierFailed
from penstock.caches.guarded import GuardedTier
from penstock.caches.metrics import READS
from penstock.caches.seal import Opened
from penstock.caches.tier_memory import MemoryTier
from penstock.core.clock import Clock
from penstock.core.metrics import Meter, Sample

Dead = Callable[[bytes, bytes], bool]
"""Tells of a key and its value whether they may go."""


class Swept(msgspec.Struct, frozen=True):
    """``gone`` entries were forgotten; ``whole``: every tier has been read to its end, and forgot what it was told
    to."""

    gone: int
    whole: bool


class Chain:
    """Bytes under keys in ``memory`` (None: none) and the ``tiers`` behind, the fastest first; owns them all. Nothing
    here raises because of a tier. For one event loop."""

    def __init__(
        self, memory: MemoryTier | None, tiers: Sequence[GuardedTier] = (), *, clock: Clock, meter: Meter
    ) -> None:
        self._memory = memory
        self._tiers = tuple(tiers)
        self._wall = clock.wall
        self._meter = meter
        self._looked = self._missed = 0

    @property
    def deep(self) -> bool:
        """Whether there is more than memory, so that ``get`` may find what ``look`` does not."""
        return bool(self._tiers)

    def measured(self) -> Mapping[tuple[str, ...], float]:
        """Has in the meter what came of looks into memory since the last time, and tells how many entries each tier
        behind it is to write, as the metric ``WAITING`` has it."""
        hits, misses, self._looked, self._missed = self._looked - self._missed, self._missed, 0, 0
        for outcome, many in (("hit", hits), ("miss", misses)):
            if many:
                self._meter.record(Sample(READS, many, ("memory", outcome)))
        return {(tier.name,): float(tier.waiting) for tier in self._tiers}

    def look(self, key: bytes) -> bytes | None:
        """The value, as far as it is in memory."""
        if self._memory is None:
            return None
        value = self._memory.look(key)
        self._looked += 1
        if value is None:
            self._missed += 1
        return value

    async def get(self, keys: Sequence[bytes]) -> list[bytes | None]:
        """The values, in order, from the first tier that has each; waits as long as the tiers' deadlines together."""
        found: list[bytes | None] = [self.look(key) for key in keys]
        for depth, tier in enumerate(self._tiers):
            missing = [index for index, value in enumerate(found) if value is None]
            if not missing:
                break
            opened = await tier.get([keys[index] for index in missing])
            for index, item in zip(missing, opened, strict=True):
                if item is not None:
                    found[index] = item.value
                    self._fill(keys[index], item.value, item.until, self._tiers[:depth])
        return found

    def put(self, key: bytes, value: bytes, until: float, *, near: bool = False) -> None:
        """Keeps ``value`` everywhere, to be served until then (seconds since the epoch): in memory at once, in the
        others when its turn comes. ``near``: in memory alone."""
        self._fill(key, value, until, () if near else self._tiers)

    async def delete(self, keys: Sequence[bytes]) -> bool:
        """Forgets ``keys`` everywhere. Whether each tier has done it: what one still holds may come back."""
        if self._memory is not None:
            await self._memory.delete(keys)
        done = [await tier.delete(keys) for tier in self._tiers]
        return all(done)

    async def sweep_memory(self, dead: Dead) -> int:
        """Forgets what is dead and in memory; tells how much. Requests go between."""
        gone = 0
        if self._memory is not None:
            async for batch in self._memory.walk():
                keys = [key for key, value in batch if dead(key, value)]
                await self._memory.delete(keys)
                gone += len(keys)
        return gone

    async def sweep(self, dead: Dead) -> Swept:
        """Forgets what is dead, damaged, or past its time, in every tier behind memory, for one process of all that
        share them. It reads all that lies there. A tier that fails is left as it is: the next sweep finds it.
        ``dead`` is asked in a thread."""
        gone, whole, wall = 0, True, self._wall()
        for tier in self._tiers:
            try:
                async for batch in tier.walk():
                    keys = await asyncio.to_thread(_dead, batch, wall, dead)
                    if not keys:
                        continue
                    if await tier.delete(keys):
                        gone += len(keys)
                    else:
                        whole = False
            except (TierFailed, TimeoutError):
                whole = False
        return Swept(gone, whole)

    async def aclose(self) -> None:
        """Closes all tiers; the meter is up to date then. Idempotent."""
        self.measured()
        for tier in self._tiers:
            await tier.aclose()
        if self._memory is not None:
            await self._memory.aclose()

    def _fill(self, key: bytes, value: bytes, until: float, tiers: Sequence[GuardedTier]) -> None:
        for_s = until - self._wall()
        if for_s <= 0:
            return
        if self._memory is not None:
            self._memory.keep(key, value, for_s)
        for tier in tiers:
            tier.put(key, value, until)


def _dead(batch: Sequence[tuple[bytes, Opened | None]], wall: float, dead: Dead) -> Sequence[bytes]:
    return [key for key, item in batch if item is None or item.until <= wall or dead(key, item.value)]
