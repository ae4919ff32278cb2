"""The desk of exact entries: what is served for a key, and what is not served any more.

An entry that another release, project or caller has is another key; what is invalidated is refused here, wherever it
still lies. Entries are packed with MessagePack, under a version of their own, so that a gateway of another version
takes them for a miss.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable

import msgspec

from penstock.caches import embeddings
from penstock.caches.chain import Chain, Swept
from penstock.caches.control import NOTHING_SAID, CacheControl
from penstock.caches.invalidations import Invalidations
from penstock.core.caching import CacheKey, Entry, Invalidation
from penstock.core.clock import Clock

_FORM = b"\x01"
"""The version of what is packed: the first byte."""

_pack = msgspec.msgpack.Encoder()
_entries = msgspec.msgpack.Decoder(Entry)


def packed(entry: Entry) -> bytes:
    """The entry as tiers keep it."""
    return _FORM + _pack.encode(entry)


def unpacked(value: bytes) -> Entry | None:
    """The same entry; None when ``value`` is none of this version."""
    if value[:1] != _FORM:
        return None
    try:
        return _entries.decode(memoryview(value)[1:])
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None


class Found(msgspec.Struct, frozen=True):
    """An entry that may be served. ``stale``: past its time, so that it is to be made anew behind. ``age_s`` is how
    old it is."""

    entry: Entry
    stale: bool
    age_s: float


_READ = 1024
_SMALL = 16 << 10
"""Entries that are at hand unpacked: so many, of so many bytes at most."""


class Answers:
    """Entries on a ``chain``, which others may use, too. For one event loop."""

    def __init__(self, chain: Chain, *, clock: Clock) -> None:
        self._chain = chain
        self._wall = clock.wall
        self._invalid = Invalidations()
        self._read: OrderedDict[bytes, tuple[bytes, Entry]] = OrderedDict()

    @property
    def deep(self) -> bool:
        """Whether ``find`` may know more than ``look``."""
        return self._chain.deep

    def look(self, key: CacheKey, control: CacheControl) -> Found | None:
        """What may be served and is in memory."""
        value = self._chain.look(key.digest)
        if value is None:
            return None
        read = self._read.get(key.digest)
        # Memory gives the same object each time, so it need not be read again.
        if read is None or read[0] is not value or self._invalid.records or control is not NOTHING_SAID:
            return self._served(key, value, control)
        entry = read[1]
        age = self._wall() - entry.created_at
        return Found(entry, False, age) if 0.0 <= age < entry.fresh_for_s else served(entry, control, self._wall())

    async def find(self, key: CacheKey, control: CacheControl) -> Found | None:
        """What may be served, from any tier; waits for their deadlines at most, and never raises."""
        (value,) = await self._chain.get([key.digest])
        return None if value is None else self._served(key, value, control)

    async def fallback(self, key: CacheKey) -> Entry | None:
        """What may be served when nothing else answers: past its time by ``fallback_for_s`` at most."""
        (value,) = await self._chain.get([key.digest])
        entry = None if value is None else self._known(key, value)
        if entry is None or entry.created_at + entry.fresh_for_s + entry.fallback_for_s <= self._wall():
            return None
        return entry

    def keep(self, entry: Entry, *, near: bool = False) -> bool:
        """Keeps the entry in every tier, without waiting for any; ``near``: in memory, as another process has brought
        it to the others. False: it was invalidated while it was made, or its time is over."""
        until = entry.created_at + entry.kept_for_s
        if until <= self._wall() or self._invalid.covers(entry):
            return False
        self._chain.put(entry.key, packed(entry), until, near=near)
        return True

    def may(self, entry: Entry, control: CacheControl) -> bool:
        """Whether a client that says ``control`` may be given this answer, where its service would give it though it
        is not fresh: it is being made for an equal request, or serves in the place of an error."""
        return not self.covers(entry) and taken(entry, control, self._wall())

    def covers(self, entry: Entry) -> bool:
        """Whether the entry was invalidated, so that it is not to be served, wherever it lies."""
        return self._invalid.covers(entry)

    def invalidate(self, records: tuple[Invalidation, ...]) -> None:
        """All invalidations that hold from now on, earlier ones included. What they name is not served from this
        moment on."""
        self._invalid = Invalidations(records)

    def newest(self, *, project: str, service: str, release: str, tags: Iterable[str] = (), key: str = "") -> float:
        """Since when all that was made for these is not to be given, as ``Invalidations`` has it."""
        return self._invalid.newest(project=project, service=service, release=release, tags=tags, key=key)

    def forgets(self, subject: str, at: float) -> bool:
        """Whether what was made for a person is not to be given, as ``Invalidations`` has it."""
        return self._invalid.forgets(subject, at)

    async def sweep_memory(self) -> int:
        """Forgets what was invalidated and lies in memory; tells how much."""
        return await self._chain.sweep_memory(self._dead)

    async def sweep(self) -> Swept:
        """Forgets what was invalidated, damaged, or is past its time, in the tiers that gateways share. For one
        process of all, now and then, and when a person is to be forgotten."""
        return await self._chain.sweep(self._dead)

    def _dead(self, _: bytes, value: bytes) -> bool:
        if value[:1] == embeddings.FORM:
            dated = embeddings.unpacked(value)
            return dated is None or self._invalid.forgets(dated.subject, dated.made_at)
        if value[:1] != _FORM:
            return False
        entry = unpacked(value)
        return entry is None or self._invalid.covers(entry)

    def _known(self, key: CacheKey, value: bytes) -> Entry | None:
        read = self._read.get(key.digest)
        entry = read[1] if read is not None and read[0] is value else self._unpacked(key, value)
        return None if entry is None or (self._invalid.records and self._invalid.covers(entry)) else entry

    def _unpacked(self, key: CacheKey, value: bytes) -> Entry | None:
        entry = unpacked(value)
        if entry is None or entry.key != key.digest:
            return None
        if len(value) <= _SMALL:
            self._read[key.digest] = (value, entry)
            if len(self._read) > _READ:
                self._read.popitem(last=False)
        return entry

    def _served(self, key: CacheKey, value: bytes, control: CacheControl) -> Found | None:
        entry = self._known(key, value)
        return None if entry is None else served(entry, control, self._wall())


def served(entry: Entry, control: CacheControl, wall: float) -> Found | None:
    """The entry as a client that says ``control`` may have it at ``wall`` (seconds since the epoch). A client may be
    stricter than its service, never looser. Clocks of several gateways differ: an entry of the future is new."""
    age = max(0.0, wall - entry.created_at)
    left = entry.fresh_for_s - age
    if not control.read or (control.max_age_s is not None and age > control.max_age_s):
        return None
    if left > 0:
        return Found(entry, False, age) if left >= control.min_fresh_s else None
    stale_for_s = entry.stale_for_s
    if control.max_stale_s is not None:
        stale_for_s = min(stale_for_s, control.max_stale_s)
    return Found(entry, True, age) if -left < stale_for_s and not control.min_fresh_s else None


def taken(entry: Entry, control: CacheControl, wall: float) -> bool:
    """Whether a client that says ``control`` takes the entry at ``wall`` (seconds since the epoch), fresh or not."""
    age = max(0.0, wall - entry.created_at)
    left = entry.fresh_for_s - age
    return (
        control.read
        and (control.max_age_s is None or age <= control.max_age_s)
        and (not control.min_fresh_s or left >= control.min_fresh_s)
        and (control.max_stale_s is None or left > 0 or -left < control.max_stale_s)
    )
