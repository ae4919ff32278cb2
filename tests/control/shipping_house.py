"""Shipping with everything around it: a store that can be away, writers that can be killed, hooks that remember."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import threading
from collections.abc import AsyncIterator, Coroutine, Iterator, Mapping, Sequence
from pathlib import Path

import msgspec

from penstock.control.shipping import Shipping
from penstock.control.shipping_batch import ShippingPace
from penstock.core.accounts import SubjectKind
from penstock.core.errors import STORE_UNAVAILABLE, PenstockError
from penstock.core.releases import Score
from penstock.core.usage import (
    Act,
    AuditQuery,
    AuditRow,
    Entry,
    Finding,
    GroupBy,
    Head,
    Opened,
    Opening,
    Settled,
    UsageQuery,
    UsageSum,
    Used,
)
from penstock.store.journal import Journal
from tests.control.timing import ManualTime

PACE = ShippingPace(tick_s=0.002, pause_s=0.003, rows=7, backoff_s=0.001, backoff_most_s=0.01, remember=50)


class FakeStore:
    """Ledger, audit, scores and state in memory. ``failures`` of the next calls fail, every other one after its work was
    done: an answer can be lost as well as a call. Counts what came twice."""

    def __init__(self) -> None:
        self.rows: dict[tuple[str, int], Entry] = {}
        self.acts_by_id: dict[str, Act] = {}
        self.keys: list[Used] = []
        self.scores: dict[tuple[str, str, str, str], Score] = {}
        self.away = False
        self.failures = 0
        self.calls = 0
        self.largest = 0
        self.again = 0
        self._lock = threading.Lock()

    @contextlib.contextmanager
    def _call(self, size: int) -> Iterator[None]:
        with self._lock:
            self.calls += 1
            self.largest = max(self.largest, size)
            fails = self.away or self.failures > 0
            if fails and (self.away or self.failures % 2):
                self.failures -= not self.away
                raise PenstockError(STORE_UNAVAILABLE, "The store is away.")
            yield
            if fails:
                self.failures -= 1
                raise PenstockError(STORE_UNAVAILABLE, "The answer was lost.")

    def append(self, entries: Sequence[Entry]) -> int:
        with self._call(len(entries)):
            fresh = {(entry.request_id, entry.attempt): entry for entry in entries}
            fresh = {key: entry for key, entry in fresh.items() if key not in self.rows}
            self.again += len(entries) - len(fresh)
            self.rows.update(fresh)
            return len(fresh)

    def append_acts(self, acts: Sequence[tuple[str, Act]]) -> int:
        with self._call(len(acts)):
            fresh = {id: act for id, act in acts if id not in self.acts_by_id}
            self.acts_by_id.update(fresh)
            return len(fresh)

    def used(self, keys: Sequence[Used]) -> None:
        with self._call(len(keys)):
            self.keys += keys

    def append_scores(self, scores: Sequence[Score]) -> int:
        with self._call(len(scores)):
            named = {(each.request_id, each.release, each.metric, each.version): each for each in scores}
            fresh = {name: each for name, each in named.items() if name not in self.scores}
            self.again += len(scores) - len(fresh)
            self.scores.update(fresh)
            return len(fresh)

    def request(self, request_id: str, near: float | None = None) -> Sequence[Entry]:
        with self._call(1):
            found = [self.rows[key] for key in sorted(self.rows) if key[0] == request_id]
            return [row for row in found if near is None or abs(row.received_at - near) <= 1.0]

    # What shipping asks no store for.
    def sums(self, query: UsageQuery, by: Sequence[GroupBy]) -> Sequence[UsageSum]:
        raise NotImplementedError

    def entries(self, query: UsageQuery, after: tuple[float, str, int] | None, most: int) -> Sequence[Entry]:
        raise NotImplementedError

    def spent(self, kind: SubjectKind, service: str, since: float) -> Mapping[str, int]:
        raise NotImplementedError

    def counted(
        self, kind: SubjectKind, service: str, since: float, step_s: float
    ) -> Iterator[tuple[str, float, int, int, int]]:
        raise NotImplementedError

    def forget(self, before: float) -> int:
        raise NotImplementedError

    def acts(self, query: AuditQuery, before: int | None, most: int) -> Sequence[AuditRow]:
        raise NotImplementedError

    def redact(self, numbers: Sequence[int], act: Act) -> int:
        raise NotImplementedError

    def expire(self, kind: str, before: float, act: Act) -> int:
        raise NotImplementedError

    def head(self) -> Head | None:
        raise NotImplementedError

    def verify(self, heads: Sequence[Head]) -> Sequence[Finding]:
        raise NotImplementedError


class House:
    """One folder, its store, and one life of shipping after another."""

    def __init__(self, folder: Path, *, limit_bytes: int = 1 << 20, pace: ShippingPace = PACE) -> None:
        self.folder = folder
        self.store = FakeStore()
        self.time = ManualTime()
        self.limit_bytes = limit_bytes
        self.pace = pace
        self.followed: list[tuple[str, Opened | Settled]] = []
        self.orphaned: list[tuple[str, str]] = []
        self.changes: list[bool] = []
        self._names = itertools.count(1)
        self._journals: list[Journal] = []

    def writer(self, owner: str = "", *, segment_bytes: int = 1 << 20) -> tuple[str, Journal]:
        """A journal by a name that was not there before, or by this one."""
        owner = owner or f"w-{next(self._names)}"
        journal = Journal(self.folder, owner, sync_s=0.5, segment_bytes=segment_bytes, fdatasync=lambda _: None)
        self._journals.append(journal)
        return owner, journal

    @contextlib.asynccontextmanager
    async def shipping(self) -> AsyncIterator[Shipping]:
        """One life of it."""
        self.followed.clear()
        self.orphaned.clear()
        shipping = Shipping(
            self.folder,
            self.store,
            self.store,
            self.store.used,
            self.store.append_scores,
            limit_bytes=self.limit_bytes,
            clock=self.time,
            follow=self._follow,
            orphaned=lambda owner, lease: self.orphaned.append((owner, lease)),
            changed=self.changes.append,
            pace=self.pace,
        )
        async with cancelled_at_end(shipping.run()):
            yield shipping

    def _follow(self, owner: str, record: Opening | Settled) -> None:
        if isinstance(record, Opening):
            with contextlib.suppress(msgspec.ValidationError):
                bound = msgspec.msgpack.decode(record.bound, type=Entry)
                self.followed.append((owner, Opened(record.lease, bound, record.held)))
        else:
            self.followed.append((owner, record))

    def close(self) -> None:
        for journal in self._journals:
            journal.close()

    def files(self) -> list[str]:
        return sorted(path.name for path in self.folder.iterdir())


@contextlib.asynccontextmanager
async def cancelled_at_end(running: Coroutine[object, object, None]) -> AsyncIterator[asyncio.Task[None]]:
    """Runs beside the block, ends with it, and fails it when it ends before."""
    task = asyncio.create_task(running)
    try:
        yield task
        assert not task.done()
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
