"""What was read of the journals, until the store has it: in memory, and in the batch that is on its way."""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

import msgspec

from penstock.control.shipping_journal import OwnerJournal, Part
from penstock.core.releases import Score, Scored
from penstock.core.usage import Act, Audited, Entry, JournalRecord, Settled, Used
from penstock.store import AuditStore, LedgerStore

_T = TypeVar("_T")


class ShippingPace(msgspec.Struct, frozen=True, kw_only=True):
    """Journals are looked at every ``tick_s``. Between batches it rests for ``pause_s``, unless as many ``rows`` wait
    as a transaction may have, or somebody waits for it. Between tries of a store that is away it waits ``backoff_s``,
    twice as long each time, up to ``backoff_most_s``. The last ``remember`` rows that the store does not have yet can
    be looked up, when they come from no more than ``bytes`` of journal; so much is read again at once."""

    tick_s: float = 0.2
    pause_s: float = 0.25
    rows: int = 2000
    bytes: int = 8 << 20
    backoff_s: float = 0.1
    backoff_most_s: float = 5.0
    remember: int = 10_000


class Rows:
    """What the store gets of some records."""

    __slots__ = ("acts", "entries", "keys", "scores")

    def __init__(self) -> None:
        self.entries: list[Entry] = []
        self.acts: list[tuple[str, Act]] = []
        self.keys: list[Used] = []
        self.scores: list[Score] = []

    def __len__(self) -> int:
        return len(self.entries) + len(self.acts) + len(self.keys) + len(self.scores)

    def add(self, record: JournalRecord) -> None:
        """Of an Opened it gets nothing."""
        if isinstance(record, Settled):
            self.entries += record.entries
        elif isinstance(record, Audited):
            self.acts.append((record.id, record.act))
        elif isinstance(record, Scored):
            self.scores += record.scores
        elif isinstance(record, Used):
            self.keys.append(record)


class Kept(Rows):
    """Those of the last ``size`` bytes of a part before ``end``."""

    __slots__ = ("end", "part", "size")

    def __init__(self, part: Part, end: int) -> None:
        super().__init__()
        self.part = part
        self.end = end
        self.size = end - part.followed


class Memory:
    """What was followed and not shipped, in the order of following: the last ``rows`` rows and a few, or less when
    they are more than ``size`` bytes of journal. What is older is left on the disk."""

    def __init__(self, rows: int, size: int) -> None:
        self.rows = 0
        self._most_rows = rows
        self._most_size = size
        self._size = 0
        self._kept: deque[Kept] = deque()

    def __iter__(self) -> Iterator[Kept]:
        return iter(self._kept)

    def add(self, kept: Kept) -> None:
        self._kept.append(kept)
        self.rows += len(kept)
        self._size += kept.size
        while self._kept and (self._size > self._most_size or self.rows - len(self._kept[0]) >= self._most_rows):
            oldest = self._drop()
            oldest.part.left = oldest.end

    def shipped(self) -> None:
        """Lets go of what the store has."""
        while self._kept and self._kept[0].end <= self._kept[0].part.shipped:
            self._drop()

    def _drop(self) -> Kept:
        oldest = self._kept.popleft()
        self.rows -= len(oldest)
        self._size -= oldest.size
        return oldest


class Batch(Rows):
    """What goes to the store at once, and how far the journals are shipped when it is there. ``lost`` are journals
    whose lost leases are among the entries."""

    __slots__ = ("lost", "moved")

    def __init__(self) -> None:
        super().__init__()
        self.moved: list[tuple[Part, int]] = []
        self.lost: list[OwnerJournal] = []

    def __bool__(self) -> bool:
        return bool(self.moved or self.lost)

    def take(self, memory: Memory, most: int) -> None:
        """From memory, which keeps it until it is shipped; no more than so many rows, unless the first are."""
        for kept in memory:
            if self.moved and len(self) + len(kept) > most:
                return
            self.entries += kept.entries
            self.acts += kept.acts
            self.keys += kept.keys
            self.scores += kept.scores
            self.moved.append((kept.part, kept.end))

    def fill(self, parts: Sequence[tuple[Part, int]], most: int, most_bytes: int) -> None:
        """Reads on, in one journal, from where its parts are shipped up to the places given; no more than so many
        records, and about so many bytes. Raises ``OSError``; the batch is then of no use."""
        for part, until in parts:
            reader = part.shipping
            reader.offset = part.shipped
            while most > 0 and most_bytes > 0 and reader.offset < until:
                before = reader.offset
                records = reader.read(most, until, most_bytes)
                if reader.offset == before:
                    # It was whole when it was followed: the disk has changed it since.
                    part.following.damaged = True
                    reader.offset = until
                for record in records:
                    self.add(record)
                most -= len(records)
                most_bytes -= reader.offset - before
            if reader.offset > part.shipped:
                self.moved.append((part, reader.offset))
            if reader.offset < until:
                return

    def sync(self) -> None:
        """The store must not know of what a machine that stops could yet take back: a lease would be lost whose rows
        are there. Raises ``OSError``."""
        if not len(self):
            return
        for part in {part for part, _ in self.moved}:
            # A file that somebody took away takes nothing back.
            with contextlib.suppress(FileNotFoundError):
                part.shipping.sync()


class Destination:
    """Where a batch goes, in transactions of at most ``rows`` rows."""

    def __init__(
        self,
        ledger: LedgerStore,
        audit: AuditStore,
        used: Callable[[Sequence[Used]], None],
        scored: Callable[[Sequence[Score]], object],
        rows: int,
    ) -> None:
        self._ledger = ledger
        self._audit = audit
        self._used = used
        self._scored = scored
        self._rows = rows

    def take(self, batch: Batch) -> None:
        """Blocks until all of it is there; again for what is there already is well. Raises ``PenstockError`` and
        ``OSError``."""
        batch.sync()
        for entries in self._some(batch.entries):
            self._ledger.append(entries)
        for acts in self._some(batch.acts):
            self._audit.append_acts(acts)
        # After the rows of their requests, by which the store completes what clients score.
        for scores in self._some(batch.scores):
            self._scored(scores)
        if batch.keys:
            self._used(batch.keys)

    def _some(self, all_of_them: Sequence[_T]) -> Iterator[Sequence[_T]]:
        for at in range(0, len(all_of_them), self._rows):
            yield all_of_them[at : at + self._rows]
