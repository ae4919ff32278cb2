"""Brings what the journals hold into the store, and settles what killed workers left open.

Every journal is read twice. *Following* goes to the end ten times a second, whether or not the store is there, and
knows which leases are open. *Shipping* goes behind it, a batch at a time, no farther than the store is: what waits is
on the disk and not in memory. A batch that fails is sent again; what a later life reads again is in the store
already, and the store knows it by its names, so nothing is lost and nothing is there twice.

A segment is deleted when it is finished (its owner writes another, or has ended), the store has all of it, and all
before it are gone. What is still open in it is first carried over into a segment of its own, so a stream that takes
hours holds back one record and not the journal.
"""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import ParamSpec, TypeVar

import msgspec

from penstock.control.shipping_journal import Batch, OwnerJournal, Part
from penstock.core.clock import Clock
from penstock.core.errors import PenstockError
from penstock.core.usage import Entry, Opened, Settled, Used
from penstock.store import AuditStore, LedgerStore
from penstock.store.journal_folder import CARRIED, carry, segments, set_aside

_log = logging.getLogger(__name__)
_P = ParamSpec("_P")
_T = TypeVar("_T")
_Place = tuple[int, float]

_EMPTY_AGAIN = 0.9
"""Of the bound: full until less than that waits."""


def _place(entry: Entry) -> _Place:
    """Among the rows of one request id: clients choose ids, and may choose the same one twice."""
    return entry.attempt, entry.received_at


class ShippingPace(msgspec.Struct, frozen=True, kw_only=True):
    """Journals are looked at every ``tick_s``. A transaction has at most ``rows`` rows, and was read from about
    ``bytes`` of journal. Between tries of a store that is away it waits ``backoff_s``, twice as long each time, up to
    ``backoff_most_s``. ``remember`` requests that the store does not have yet can be looked up."""

    tick_s: float = 0.1
    rows: int = 1000
    bytes: int = 4 << 20
    backoff_s: float = 0.1
    backoff_most_s: float = 5.0
    remember: int = 10_000


class Shipping:
    """The supervisor's end of all journals of one folder. To be used from the event loop's thread.

    Whoever has segments in the folder now is of an earlier life, and has ended. ``used`` is ``StateStore.used``.
    The hooks are called on the event loop and must not block: ``follow`` with every Opened and Settled of an owner,
    in order, once; ``orphaned`` with an owner that has ended and a lease that it left open, after all it wrote was
    followed; ``changed`` when ``full`` changes. Raises ``OSError`` when the folder cannot be read.
    """

    def __init__(
        self,
        folder: Path,
        ledger: LedgerStore,
        audit: AuditStore,
        used: Callable[[Sequence[Used]], None],
        *,
        limit_bytes: int,
        clock: Clock,
        follow: Callable[[str, Opened | Settled], None],
        orphaned: Callable[[str, str], None],
        changed: Callable[[bool], None],
        pace: ShippingPace = ShippingPace(),  # noqa: B008 - frozen
    ) -> None:
        self.full = False
        self.damaged = 0
        self._folder = folder
        self._ledger = ledger
        self._audit = audit
        self._used = used
        self._limit_bytes = limit_bytes
        self._clock = clock
        self._follow = follow
        self._orphaned = orphaned
        self._changed = changed
        self._pace = pace
        self._journals: dict[str, OwnerJournal] = {}
        self._ending = set(segments(folder))
        self._unshipped: OrderedDict[str, dict[_Place, Entry]] = OrderedDict()
        self._complaint = ""
        self._passes_begun = 0
        self._passes_done = 0
        self._woken = asyncio.Event()
        self._followed = asyncio.Event()
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

    async def lookup(self, request_id: str, within_s: float = 2.0) -> Sequence[Entry]:
        """The rows with this request id, by attempt, shipped or not. While the store is away: those that are not
        shipped, when there are any, else raises ``PenstockError(STORE_UNAVAILABLE)``. Raises ``TimeoutError`` when
        the journals cannot be read in time."""
        await self.caught_up(within_s)
        rows = dict(self._unshipped.get(request_id, {}))
        try:
            stored = await _in_thread(self._ledger.request, request_id)
        except PenstockError:
            if not rows:
                raise
            stored = ()
        rows.update((_place(entry), entry) for entry in stored)
        return tuple(rows[place] for place in sorted(rows))

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
                found = await _in_thread(segments, self._folder)
                for name in found.keys() - self._journals.keys():
                    self._journals[name] = OwnerJournal(name)
                for name, journal in self._journals.items():
                    journal.note(found.get(name, ()))
        except OSError as error:
            self._complain(error)
            return False
        for name, journal in tuple(self._journals.items()):
            try:
                await self._follow_one(journal, name in ending)
            except OSError as error:
                self._complain(error)
                well = False
            else:
                self._ending -= ending & {name}
        self._ending -= ending - self._journals.keys()
        return well

    async def _follow_one(self, journal: OwnerJournal, ending: bool) -> None:
        parts = tuple(journal.parts)
        for part in parts:
            reader = part.following
            while not part.whole and not reader.damaged and reader.offset < part.size:
                before = reader.offset
                for record in await _in_thread(reader.read, self._pace.rows, part.size):
                    if isinstance(record, Opened | Settled) and journal.take(record):
                        if isinstance(record, Settled):
                            self._remember(record.entries)
                        self._follow(journal.name, record)
                part.followed = reader.offset
                if reader.offset == before:
                    break
            if not part.whole and (ending or part is not parts[-1]):
                await self._finish(part)
        if ending and not journal.ended:
            leases = journal.end(self._clock.wall())
            self._remember(journal.lost)
            for lease in leases:
                self._orphaned(journal.name, lease)
            if leases:
                _log.warning(
                    "%s ended with %d requests open; they are charged at their bound", journal.name, len(leases)
                )

    async def _finish(self, part: Part) -> None:
        left = await _in_thread(part.following.finish)
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
            _log.error("the journals in %s cannot be read or deleted, which is tried again: %s", self._folder, error)

    def _remember(self, entries: Iterable[Entry]) -> None:
        for entry in entries:
            self._unshipped.setdefault(entry.request_id, {})[_place(entry)] = entry
        while len(self._unshipped) > self._pace.remember:
            self._unshipped.popitem(last=False)

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

    async def _next(self) -> Batch:
        """What the store should have next, of each journal a fair share."""
        batch = Batch()
        todo = [
            [(part, part.followed) for part in journal.parts if part.shipped < part.followed]
            for journal in self._journals.values()
        ]
        todo = [parts for parts in todo if parts]
        for parts in todo:
            rows, size = max(1, self._pace.rows // len(todo)), max(1, self._pace.bytes // len(todo))
            await _in_thread(batch.fill, parts, rows, size)
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
        for journal in batch.lost:
            journal.lost = ()
        for entry in batch.entries:
            attempts = self._unshipped.get(entry.request_id)
            if attempts is not None:
                attempts.pop(_place(entry), None)
                if not attempts:
                    del self._unshipped[entry.request_id]
        self._weigh()
        async with self._moved:
            self._moved.notify_all()

    async def _sent(self, batch: Batch, tries: int) -> bool:
        try:
            await _in_thread(self._send, batch)
        except PenstockError as error:
            if not tries:
                _log.warning("the store does not take what was used, which waits in %s: %s", self._folder, error)
            return False
        except Exception:  # noqa: BLE001 - whatever it is, giving up would lose what was used
            _log.exception("the store does not take what was used, which waits in %s", self._folder)
            return False
        return True

    def _send(self, batch: Batch) -> None:
        """In a thread."""
        rows = self._pace.rows
        for at in range(0, len(batch.entries), rows):
            self._ledger.append(batch.entries[at : at + rows])
        for at in range(0, len(batch.acts), rows):
            self._audit.append_acts(batch.acts[at : at + rows])
        if batch.keys:
            self._used(batch.keys)

    async def _sweep(self) -> None:
        """Deletes what nobody needs any more. Raises ``OSError``."""
        for journal in tuple(self._journals.values()):
            parts = journal.deletable()
            if not parts and not journal.over:
                continue
            async with self._files:
                carried = () if journal.over else journal.carried()
                await _in_thread(self._delete, journal.name, carried, parts)
                del journal.parts[: len(parts)]
                if journal.over:
                    del self._journals[journal.name]

    def _delete(self, owner: str, carried: Sequence[Opened], parts: Sequence[Part]) -> None:
        """In a thread. In order, so that what a crash leaves is the end of the journal and not its begin."""
        carry(self._folder, owner, carried)
        for part in parts:
            if part.number == CARRIED:
                continue
            if part.following.damaged or part.following.skipped:
                _log.error("the damaged segment is kept as %s", set_aside(part.path))
            else:
                part.path.unlink(missing_ok=True)


async def _in_thread(call: Callable[_P, _T], *args: _P.args, **kwargs: _P.kwargs) -> _T:
    """In a thread, to its end: when this is cancelled meanwhile, only then. Nobody is to close the store under it."""
    running = asyncio.ensure_future(asyncio.to_thread(call, *args, **kwargs))
    try:
        return await asyncio.shield(running)
    except asyncio.CancelledError:
        await asyncio.wait((running,))
        raise
