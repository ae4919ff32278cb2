"""The tier in this process: bounded by bytes, with S3-FIFO, a frequency-aware eviction.

Source: Yang, Zhang, Qiu, Yue and Rashmi, "FIFO queues are all you need for cache eviction" (SOSP 2023). What is new
waits in a small queue; only what is asked there more than once comes to the main queue, so that a scan leaves the
rest alone. What left the small queue is remembered as a ghost, and comes to the main queue at once when it is put
again. In the main queue what was asked since its last turn gets another one.

Its own file rather than a package: those that bound by bytes give no way to walk over what they hold, which the
erasure of a person needs, and keep a thread's locks that one event loop has no use for.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import AsyncIterator, Sequence

from penstock.caches import Items, Kept
from penstock.core.clock import Clock

OVERHEAD = 400
"""Bytes that an entry costs beside its key and value."""
GHOST = 240
"""Bytes that a ghost costs."""
SMALL = 10
"""The small queue has one part in so many."""
_TURNS = 3
_BATCH = 256


class _Held:
    __slots__ = ("asked", "cost", "until", "value")

    def __init__(self, value: bytes, cost: int, until: float) -> None:
        self.value = value
        self.cost = cost
        self.until = until
        self.asked = 0


class MemoryTier:
    """A ``Tier`` of at most ``most_bytes`` bytes, its own bookkeeping included. What is larger than a quarter of that
    is not kept. ``look``, ``keep`` and ``drop`` are the same as the tier's own, without a wait."""

    name = "memory"

    def __init__(self, most_bytes: int, clock: Clock) -> None:
        self._most_bytes = most_bytes
        self._now = clock.now
        self._small: OrderedDict[bytes, _Held] = OrderedDict()
        self._main: OrderedDict[bytes, _Held] = OrderedDict()
        self._ghosts: OrderedDict[bytes, None] = OrderedDict()
        self._small_bytes = 0
        self._main_bytes = 0

    def __len__(self) -> int:
        return len(self._small) + len(self._main)

    @property
    def used(self) -> int:
        """Bytes that it has taken."""
        return self._small_bytes + self._main_bytes + GHOST * len(self._ghosts)

    def look(self, key: bytes) -> bytes | None:
        """The value of ``key``, None: it has none."""
        held = self._small.get(key) or self._main.get(key)
        if held is None:
            return None
        if held.until <= self._now():
            self.drop(key)
            return None
        if held.asked < _TURNS:
            held.asked += 1
        return held.value

    def keep(self, key: bytes, value: bytes, for_s: float) -> None:
        """Keeps ``value`` for ``for_s`` seconds, as long as there is room."""
        cost = len(key) + len(value) + OVERHEAD
        asked = self.drop(key)
        if cost * 4 > self._most_bytes:
            return
        held = _Held(value, cost, self._now() + for_s)
        if asked is not None:
            held.asked = asked
        if key in self._ghosts:
            del self._ghosts[key]
            self._main[key] = held
            self._main_bytes += cost
        else:
            self._small[key] = held
            self._small_bytes += cost
        self._make_room()

    def drop(self, key: bytes) -> int | None:
        """Forgets ``key``. Tells how often it was asked lately, None: it was not there."""
        held = self._small.pop(key, None)
        if held is not None:
            self._small_bytes -= held.cost
            return held.asked
        held = self._main.pop(key, None)
        if held is not None:
            self._main_bytes -= held.cost
            return held.asked
        return None

    async def get(self, keys: Sequence[bytes]) -> Sequence[bytes | None]:
        return [self.look(key) for key in keys]

    async def put(self, items: Sequence[Kept]) -> None:
        for item in items:
            self.keep(item.key, item.value, item.for_s)

    async def delete(self, keys: Sequence[bytes]) -> None:
        for key in keys:
            self.drop(key)

    async def walk(self) -> AsyncIterator[Items]:
        keys = [*self._small, *self._main]
        for start in range(0, len(keys), _BATCH):
            held = [(key, self._small.get(key) or self._main.get(key)) for key in keys[start : start + _BATCH]]
            yield [(key, found.value) for key, found in held if found is not None]
            # Requests go between two batches.
            await asyncio.sleep(0)

    async def aclose(self) -> None:
        self._small.clear()
        self._main.clear()
        self._ghosts.clear()
        self._small_bytes = self._main_bytes = 0

    def _make_room(self) -> None:
        while self.used > self._most_bytes:
            if self._small and (self._small_bytes * SMALL >= self._most_bytes or not self._main):
                self._turn_small()
            elif self._main:
                self._turn_main()
            else:
                self._ghosts.popitem(last=False)

    def _turn_small(self) -> None:
        key, held = self._small.popitem(last=False)
        self._small_bytes -= held.cost
        if held.asked > 1:
            held.asked = 0
            self._main[key] = held
            self._main_bytes += held.cost
            return
        self._ghosts[key] = None
        while len(self._ghosts) > max(16, len(self._main) + len(self._small)):
            self._ghosts.popitem(last=False)

    def _turn_main(self) -> None:
        key, held = self._main.popitem(last=False)
        if held.asked and held.until > self._now():
            held.asked -= 1
            self._main[key] = held
        else:
            self._main_bytes -= held.cost
