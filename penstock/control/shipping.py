"""Brings what the journals hold into the store, and settles what killed workers left open.

*Following* reads every journal to its end five times a second, whether or not the store is there, and knows which
leases are open. *Shipping* goes behind it, a batch at a time, with what was read; where the store is so far behind
that this would be too much to keep, it is read again: what waits is on the disk and not in memory. A batch that fails
is sent again; what a later life reads again is in the store already, and the store knows it by its names, so nothing
is lost and nothing is there twice.

A segment is deleted when it is finished (its owner writes another, or has ended), the store has all of it, and all
before it are gone. What is still open in it is first carried over into a segment of its own, so a stream that takes
hours holds back one record and not the journal.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from penstock.control.shipping_batch import Batch, Destination, Kept, Memory, ShippingPace
from penstock.control.shipping_journal import OwnerJournal, Part, delete
from penstock.control.threads import in_thread
from penstock.core.clock import Clock
from penstock.core.errors import PenstockError
from penstock.core.releases import Score
from penstock.core.usage import Entry, JournalRecord, Opening, Settled, Used
from penstock.store import AuditStore, LedgerStore
from penstock.store.journal_folder import Segment, segments

_log = logging.getLogger(__name__)
_Read = Sequence[JournalRecord]

_EMPTY_AGAIN = 0.9
"""Of the bound: full until less than that waits."""


class Shipping:
    """The supervisor's end of all journals of one folder. To be used from the event loop's thread.

    Whoever has segments in the folder now is of an earlier life, and has ended. ``used`` is ``StateStore.used``,
    ``scored`` is ``ScoreStore.append_scores``. The hooks are called on the event loop and must not block: ``follow``
    with every Opening and Settled of an owner, in order, once; ``orphaned`` with an owner that has ended and a lease
    that it left open, after all it wrote was followed; ``changed`` when ``full`` changes. Raises ``OSError`` when the
    folder cannot be read.
    """

    def __init__(
        self,
        folder: Path,
        ledger: LedgerStore,
        audit: AuditStore,
        used: Callable[[Sequence[Used]], None],
        scored: Callable[[Sequence[Score]], object],
        *,
        limit_bytes: int,
        clock: Clock,
        follow: Callable[[str, Opening | Settled], None],
        orphaned: Callable[[str, str], None],
        changed: Callable[[bool], None],
        pace: ShippingPace = ShippingPace(),  # noqa: B008 - frozen
    ) -> None:
        self.full = False
        self.damaged = 0
        self._folder = folder
        self._ledger = ledger
        self._destination = Destination(ledger, audit, used, scored, pace.rows)
        self._limit_bytes = limit_bytes
        self._clock = clock
        self._follow = follow
        self._orphaned = orphaned
        self._changed = changed
        self._pace = pace
        self._journals: dict[str, OwnerJournal] = {}
        self._ending = set(segments(folder))
        self._memory = Memory(pace.remember, pace.bytes)
        self._complaint = ""
        self._passes_begun = 0
        self._passes_done = 0
        self._waiters = 0
        self._woken = asyncio.Event()
        self._followed = asyncio.Event()
        self._hurried = asyncio.Event()
        self._moved = asyncio.Condition()
        self._files = asyncio.Lock()
        """Held while what the folder has and what is known of it are brought together."""

    async def run(self) -> None:
        """Keeps at it until cancelled; what is under way is then at its end."""
        async with asyncio.TaskGroup() as loops:
            loops.create_task(self._keep_following())
            loops.create_task(self._keep_shipping())

    # -- what others ask ---------------------------------------------------------------------------------------------

    def ended(self, owner: str) -> None:
        """The owner is gone and writes no more: what it left open will be settled at its bound."""
        self._ending.add(owner)
        self._woken.set()

    def waiting(self) -> int:
        """Bytes that the store does not have yet, as of the last look."""
        return sum(part.waiting for journal in self._journals.values() for part in journal.parts)

    async def caught_up(self, within_s: float) -> None:
        """Returns when all that was written before the call was followed, and owners that had ended were settled.
        Raises ``TimeoutError``."""
        wanted = self._passes_begun + 1
        self._woken.set()
        async with asyncio.timeout(within_s), self._moved:
            await self._moved.wait_for(lambda: self._passes_done >= wanted)

    async def flush(self, within_s: float) -> None:
        """Returns when all that was written before the call is in the store, lost leases of owners that had ended
        included. Raises ``TimeoutError``, when the store is away say; nothing is lost then."""
        self._waiters += 1
        try:
            async with asyncio.timeout(within_s):
                await self.caught_up(within_s)
                ended = [journal for journal in self._journals.values() if journal.ended]
                places = [(part, part.followed) for journal in self._journals.values() for part in journal.parts]
                async with self._moved:
                    await self._moved.wait_for(
                        lambda: (
                            all(part.shipped >= place for part, place in places)
                            and not any(journal.lost for journal in ended)
                        )
                    )
        finally:
            self._waiters -= 1

    async def lookup(self, request_id: str, within_s: float = 2.0) -> Sequence[Entry]:
        """The rows with this request id, by attempt, shipped or not. While the store is away: those that are not
        shipped, when there are any, else raises ``PenstockError(STORE_UNAVAILABLE)``. Raises ``TimeoutError`` when
        the journals cannot be read in time."""
        await self.caught_up(within_s)
        # Clients choose ids, and may choose the same one twice.
        rows = {(row.attempt, row.received_at): row for row in self._unshipped() if row.request_id == request_id}
        try:
            stored = await in_thread(self._ledger.request, request_id)
        except PenstockError:
            if not rows:
                raise
            stored = ()
        rows.update(((row.attempt, row.received_at), row) for row in stored)
        return tuple(rows[place] for place in sorted(rows))

    def _unshipped(self) -> Iterator[Entry]:
        for kept in self._memory:
            yield from kept.entries
        for journal in self._journals.values():
            yield from journal.lost

    # -- following ---------------------------------------------------------------------------------------------------

    async def _keep_following(self) -> None:
        while True:
            self._woken.clear()
            self._passes_begun += 1
            begun = self._passes_begun
            if await self._follow_all():
                self._passes_done = begun
            self._weigh()
            self._followed.set()
            if self._urgent():
                self._hurried.set()
            async with self._moved:
                self._moved.notify_all()
            try:
                async with asyncio.timeout(self._pace.tick_s):
                    await self._woken.wait()
            except TimeoutError:
                continue

    async def _follow_all(self) -> bool:
        """One look at everything; whether nothing stood in the way."""
        ending = frozenset(self._ending)
        well = True
        try:
            async with self._files:
                nexts = [journal.next for journal in self._journals.values()]
                found, read = await in_thread(self._look, [part for part in nexts if part is not None])
                for name in found.keys() - self._journals.keys():
                    self._journals[name] = OwnerJournal(name)
                for name, journal in self._journals.items():
                    journal.note(found.get(name, ()))
        except OSError as error:
            self._complain(error)
            return False
        for name, journal in tuple(self._journals.items()):
            try:
                await self._follow_one(journal, name in ending, read)
            except OSError as error:
                self._complain(error)
                well = False
            else:
                self._ending -= ending & {name}
        self._ending -= ending - self._journals.keys()
        return well

    def _look(self, nexts: Sequence[Part]) -> tuple[Mapping[str, Sequence[Segment]], Mapping[Part, _Read]]:
        """In a thread, which is dear to come to: what there is, and what these parts have that is new."""
        found = segments(self._folder)
        sizes = {each.path: each.size for those in found.values() for each in those}
        read: dict[Part, _Read] = {}
        for part in nexts:
            size = sizes.get(part.path, 0)
            if part.following.offset < size and not part.following.damaged:
                # Where it cannot be read, that is told when it is tried again.
                with contextlib.suppress(OSError):
                    read[part] = part.following.read(self._pace.rows, size)
        return found, read

    async def _follow_one(self, journal: OwnerJournal, ending: bool, read: Mapping[Part, _Read]) -> None:
        parts = tuple(journal.parts)
        for part in parts:
            reader, records = part.following, read.get(part)
            while not part.whole:
                if records is None:
                    if reader.damaged or reader.offset >= part.size:
                        break
                    records = await in_thread(reader.read, self._pace.rows, part.size)
                if reader.offset == part.followed:
                    break
                self._take(journal, part, records)
                records = None
            if not part.whole and (ending or part is not parts[-1]):
                await self._finish(part)
        if ending and not journal.ended:
            leases = journal.end(self._clock.wall())
            self.damaged += journal.unknown
            for lease in leases:
                self._orphaned(journal.name, lease)
            if leases:
                _log.warning(
                    "%s ended with %d requests open; they are charged at their bound", journal.name, len(leases)
                )

    def _take(self, journal: OwnerJournal, part: Part, records: _Read) -> None:
        """What was read, into the memory, and to whoever follows."""
        kept, name, follow, settle = Kept(part, part.following.offset), journal.name, self._follow, journal.open.pop
        for record in records:
            if isinstance(record, Settled):
                settle(record.lease, None)
                kept.entries += record.entries
                follow(name, record)
            elif isinstance(record, Opening):
                if journal.opens(record):
                    follow(name, record)
            else:
                kept.add(record)
        part.followed = kept.end
        self._memory.add(kept)

    async def _finish(self, part: Part) -> None:
        left = await in_thread(part.following.finish)
        part.whole = True
        if part.following.damaged or part.following.skipped:
            self.damaged += 1
            _log.error(
                "the journal's segment %s is damaged at byte %d, and %d records before are unknown to this version; "
                "they, and what is behind, are not in the store",
                part.path, part.followed, part.following.skipped,
            )  # fmt: skip
        elif left:
            _log.info("the last record of the journal's segment %s was not finished", part.path)

    def _complain(self, error: OSError) -> None:
        """Once, however often it is tried again."""
        if str(error) != self._complaint:
            self._complaint = str(error)
            _log.error("the journals in %s cannot be used, which is tried again: %s", self._folder, error)

    def _weigh(self) -> None:
        waiting = self.waiting()
        full = waiting >= (self._limit_bytes * _EMPTY_AGAIN if self.full else self._limit_bytes)
        if full is not self.full:
            self.full = full
            if full:
                _log.error("the store has been away for too long: %d bytes wait in %s", waiting, self._folder)
            else:
                _log.info("the store takes again what waits in %s", self._folder)
            self._changed(full)

    # -- shipping ----------------------------------------------------------------------------------------------------

    async def _keep_shipping(self) -> None:
        while True:
            self._followed.clear()
            try:
                batch = await self._next()
                if batch:
                    await self._deliver(batch)
                await self._sweep()
            except OSError as error:
                self._complain(error)
                batch = None
            if not batch:
                await self._followed.wait()
            elif not self._urgent():
                self._hurried.clear()
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(self._pace.pause_s):
                        await self._hurried.wait()

    def _urgent(self) -> bool:
        """Whether the next batch should not wait until there is more of it."""
        return self._waiters > 0 or self._memory.rows >= self._pace.rows or bool(self._left())

    def _left(self) -> Sequence[Sequence[tuple[Part, int]]]:
        """What must be read again, by owner: parts, and up to where."""
        todo = (
            [(part, part.left) for part in journal.parts if part.shipped < part.left]
            for journal in self._journals.values()
        )
        return [parts for parts in todo if parts]

    async def _next(self) -> Batch:
        """What the store should have next; what must be read again first, of each journal a fair share."""
        batch = Batch()
        todo = self._left()
        for parts in todo:
            rows, size = max(1, self._pace.rows // len(todo)), max(1, self._pace.bytes // len(todo))
            await in_thread(batch.fill, parts, rows, size)
        if not todo:
            batch.take(self._memory, self._pace.rows)
        for journal in self._journals.values():
            if journal.lost and all(part.done for part in journal.parts):
                batch.lost.append(journal)
                batch.entries += journal.lost
        return batch

    async def _deliver(self, batch: Batch) -> None:
        """Until the store has it."""
        wait_s, tries = self._pace.backoff_s, 0
        while not await self._sent(batch, tries):
            tries += 1
            await asyncio.sleep(wait_s)
            wait_s = min(2 * wait_s, self._pace.backoff_most_s)
        if tries:
            _log.info("the store takes what was used again")
        for part, place in batch.moved:
            part.shipped = place
        self._memory.shipped()
        for journal in batch.lost:
            journal.lost = ()
        self._weigh()
        async with self._moved:
            self._moved.notify_all()

    async def _sent(self, batch: Batch, tries: int) -> bool:
        try:
            await in_thread(self._destination.take, batch)
        except PenstockError as error:
            if not tries:
                _log.warning("the store does not take what was used, which waits in %s: %s", self._folder, error)
            return False
        except OSError as error:
            self._complain(error)
            return False
        except Exception:  # noqa: BLE001 - whatever it is, giving up would lose what was used
            _log.exception("the store does not take what was used, which waits in %s", self._folder)
            return False
        return True

    async def _sweep(self) -> None:
        """Deletes what nobody needs any more. Raises ``OSError``."""
        for journal in tuple(self._journals.values()):
            parts = journal.deletable()
            if not parts and not journal.over:
                continue
            async with self._files:
                carried = () if journal.over else journal.carried()
                await in_thread(delete, self._folder, journal.name, carried, parts)
                del journal.parts[: len(parts)]
                if journal.over:
                    del self._journals[journal.name]
