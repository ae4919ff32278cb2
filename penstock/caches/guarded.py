"""A tier that may fail, hang or return damaged bytes, as one that does none of it: what goes wrong is a miss.

Reads and writes have a breaker each: a store that is full still answers. Writes wait in a bounded queue for one task,
so that nobody waits for them.
"""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import TypeVar

from penstock.caches import Items, Kept, Tier, TierFailed
from penstock.caches.breaker import Breaker
from penstock.caches.metrics import READ_SECONDS, READS, WRITES
from penstock.caches.seal import MOST_BYTES, Damaged, Opened, opened, seal
from penstock.core.clock import Clock
from penstock.core.metrics import Meter, Sample

T = TypeVar("T")
_log = logging.getLogger("penstock.caches")

BATCH = 32
"""Entries that are written in one call."""
DRAIN_S = 1.0
"""How long closing waits for what is to be written."""
_THREAD_FROM = 32 << 10
"""Size from which packing goes to a thread: the event loop has other requests."""


class GuardedTier:
    """Reads and writes of one ``Tier``, sealed, each with a deadline in seconds. Owns the tier. For one event loop.

    For more than ``most_keys`` at once nobody waits: a tier that is asked for each by itself would be late, and be
    taken for one that is slow.
    """

    def __init__(
        self,
        tier: Tier,
        *,
        read_s: float,
        write_s: float,
        compress_from: int,
        most_waiting: int,
        most_waiting_bytes: int,
        most_keys: int = 4096,
        clock: Clock,
        meter: Meter,
    ) -> None:
        self._tier = tier
        self._read_s = read_s
        self._write_s = write_s
        self._compress_from = compress_from
        self._most_waiting = most_waiting
        self._most_waiting_bytes = most_waiting_bytes
        self._most_keys = most_keys
        self._clock = clock
        self._meter = meter
        self._reading = Breaker()
        self._writing = Breaker()
        self._waiting: OrderedDict[bytes, Opened] = OrderedDict()
        self._waiting_bytes = 0
        self._writer: asyncio.Task[None] | None = None

    @property
    def name(self) -> str:
        return self._tier.name

    @property
    def waiting(self) -> int:
        """Entries that are to be written."""
        return len(self._waiting)

    async def get(self, keys: Sequence[bytes]) -> Sequence[Opened | None]:
        """What it has of ``keys``, in order, and may be served. Never raises; waits ``read_s`` at most."""
        nothing: Sequence[Opened | None] = [None] * len(keys)
        if len(keys) > self._most_keys:
            self._count("many", len(keys))
            return nothing
        started = self._clock.now()
        if not self._reading.may(started):
            self._count("resting", len(keys))
            return nothing
        try:
            async with asyncio.timeout(self._read_s):
                found = await self._tier.get(keys)
        except (TierFailed, TimeoutError) as error:
            self._failed(self._reading, "read", error)
            self._count("late" if isinstance(error, TimeoutError) else "failed", len(keys))
            return nothing
        except asyncio.CancelledError:
            self._reading.unknown()
            raise
        self._worked(self._reading, "read")
        self._meter.record(Sample(READ_SECONDS, self._clock.now() - started, (self.name,)))
        return [await self._opened(key, sealed) for key, sealed in zip(keys, found, strict=True)]

    async def _opened(self, key: bytes, sealed: bytes | None) -> Opened | None:
        if sealed is None:
            self._count("miss")
            return None
        try:
            large = len(sealed) >= _THREAD_FROM
            found = await asyncio.to_thread(opened, key, sealed) if large else opened(key, sealed)
        except Damaged:
            self._count("damaged")
            return None
        if found.until <= self._clock.wall():
            self._count("expired")
            return None
        self._count("hit")
        return found

    def put(self, key: bytes, value: bytes, until: float) -> None:
        """To be written when its turn comes, and served until then (seconds since the epoch); shed when too much
        waits. Of two under one key the later is written."""
        if len(value) > MOST_BYTES:
            self._wrote("large", 1)
            return
        self._unqueue(key)
        size = self._waiting_bytes + len(value)
        if len(self._waiting) >= self._most_waiting or (size > self._most_waiting_bytes and self._waiting):
            self._wrote("shed", 1)
            return
        self._waiting[key] = Opened(value, until)
        self._waiting_bytes = size
        if self._writer is None or self._writer.done():
            self._writer = asyncio.get_running_loop().create_task(self._write())

    async def delete(self, keys: Sequence[bytes]) -> bool:
        """Forgets ``keys``, waiting or written. Whether the tier has done it; never raises, waits ``write_s`` at
        most."""
        for key in keys:
            self._unqueue(key)
        return await self._outcome(self._tier.delete, keys) == "written"

    async def walk(self) -> AsyncIterator[Sequence[tuple[bytes, Opened | None]]]:
        """All that lies in it, None: damaged. Raises ``TierFailed``, and ``TimeoutError`` when a batch takes longer
        than ``write_s``."""
        batches = self._tier.walk()
        while True:
            async with asyncio.timeout(self._write_s):
                batch = await anext(batches, None)
            if batch is None:
                return
            # Whoever walks has requests to see to meanwhile, and reads all that there is.
            yield await asyncio.to_thread(_all_opened, batch)

    async def aclose(self) -> None:
        """Writes what waits, for ``DRAIN_S`` seconds at most, and closes the tier. Idempotent."""
        if self._writer is not None:
            await asyncio.wait((self._writer,), timeout=DRAIN_S)
            self._writer.cancel()
            await asyncio.gather(self._writer, return_exceptions=True)
            self._writer = None
        await self._tier.aclose()

    async def _write(self) -> None:
        while self._waiting:
            batch = [self._waiting.popitem(last=False) for _ in range(min(BATCH, len(self._waiting)))]
            self._waiting_bytes -= sum(len(item.value) for _, item in batch)
            wall = self._clock.wall()
            sealed = [Kept(key, await self._sealed(key, item), item.until - wall) for key, item in batch]
            self._wrote(await self._outcome(self._tier.put, [each for each in sealed if each.for_s > 0]), len(batch))

    async def _outcome(self, do: Callable[[Sequence[T]], Awaitable[None]], what: Sequence[T]) -> str:
        """What came of a write, as the metric has it."""
        if not self._writing.may(self._clock.now()):
            return "resting"
        try:
            async with asyncio.timeout(self._write_s):
                await do(what)
        except (TierFailed, TimeoutError) as error:
            self._failed(self._writing, "written", error)
            return "late" if isinstance(error, TimeoutError) else "failed"
        except asyncio.CancelledError:
            self._writing.unknown()
            raise
        self._worked(self._writing, "written")
        return "written"

    async def _sealed(self, key: bytes, item: Opened) -> bytes:
        def packed() -> bytes:
            return seal(key, item.value, item.until, compress_from=self._compress_from)

        return await asyncio.to_thread(packed) if len(item.value) >= _THREAD_FROM else packed()

    def _unqueue(self, key: bytes) -> None:
        if (item := self._waiting.pop(key, None)) is not None:
            self._waiting_bytes -= len(item.value)

    def _failed(self, breaker: Breaker, what: str, error: Exception) -> None:
        if breaker.bad(self._clock.now()):
            said = str(error) or "it does not answer in time"
            _log.warning("The cache in %s is not %s for a while: %s; see that it runs.", self.name, what, said)

    def _worked(self, breaker: Breaker, what: str) -> None:
        if breaker.good():
            _log.info("The cache in %s is %s again.", self.name, what)

    def _count(self, outcome: str, how_many: int = 1) -> None:
        self._meter.record(Sample(READS, how_many, (self.name, outcome)))

    def _wrote(self, outcome: str, how_many: int) -> None:
        self._meter.record(Sample(WRITES, how_many, (self.name, outcome)))


def _all_opened(batch: Items) -> Sequence[tuple[bytes, Opened | None]]:
    return [(key, _opened_or_none(key, sealed)) for key, sealed in batch]


def _opened_or_none(key: bytes, sealed: bytes) -> Opened | None:
    try:
        return opened(key, sealed)
    except Damaged:
        return None
