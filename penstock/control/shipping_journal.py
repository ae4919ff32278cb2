"""What is known of one owner's journal on its way to the store: how far it was read, what is open in it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from penstock.core.usage import Act, Audited, Entry, JournalRecord, Opened, Settled, Used
from penstock.store.journal_folder import Segment
from penstock.store.journal_reader import JournalReader


class Part:
    """One segment. It is read twice: ``following`` up to ``followed``, to know what is open; ``shipping`` behind it,
    up to ``shipped`` once the store has it. That way nothing is held in memory while the store is away. ``whole``:
    nothing more is written to it, and all of it was followed."""

    __slots__ = ("followed", "following", "number", "path", "shipped", "shipping", "size", "whole")

    def __init__(self, segment: Segment) -> None:
        self.number = segment.number
        self.path = segment.path
        self.size = segment.size
        self.following = JournalReader(segment.path, only=(Opened, Settled))
        self.shipping = JournalReader(segment.path, only=(Settled, Audited, Used))
        self.followed = 0
        self.shipped = 0
        self.whole = False

    @property
    def waiting(self) -> int:
        """Bytes that the store does not have. What is behind a damaged or torn place will never get there."""
        end = self.followed if self.whole or self.following.damaged else self.size
        return end - self.shipped

    @property
    def done(self) -> bool:
        return self.whole and self.shipped == self.followed


class OwnerJournal:
    """All segments of one owner, in order. ``open`` are the leases that are not settled: what each attempt may cost,
    by its number. ``ended``: the owner is gone and everything was followed; ``lost`` are then the rows for what it
    left open, until the store has them."""

    __slots__ = ("_newest", "ended", "lost", "name", "open", "parts")

    def __init__(self, name: str) -> None:
        self.name = name
        self.parts: list[Part] = []
        self.open: dict[str, dict[int, Opened]] = {}
        self.lost: tuple[Entry, ...] = ()
        self.ended = False
        self._newest = -1

    def note(self, found: Sequence[Segment]) -> None:
        """What the folder has now. What was carried is read only by a later life: this one knows it. A segment that
        somebody took away is forgotten."""
        sizes: Mapping[int, int] = {each.number: each.size for each in found}
        self.parts = [part for part in self.parts if part.number in sizes]
        for part in self.parts:
            part.size = sizes[part.number]
        self.parts += (Part(each) for each in found if each.number > self._newest)
        self._newest = max((self._newest, *sizes))

    def take(self, record: Opened | Settled) -> bool:
        """Whether it is news: what was carried may be met again where it was first."""
        if isinstance(record, Settled):
            self.open.pop(record.lease, None)
            return True
        attempts = self.open.setdefault(record.lease, {})
        if record.bound.attempt in attempts:
            return False
        attempts[record.bound.attempt] = record
        return True

    def end(self, at: float) -> Sequence[str]:
        """Nothing more will come: the leases that nobody will settle. Their bounds become rows, at ``at``."""
        self.ended = True
        self.lost = tuple(
            msgspec.structs.replace(
                record.bound,
                estimated=True,
                ending="worker_lost",
                status=500,
                settled_at=max(at, record.bound.received_at),
            )
            for attempts in self.open.values()
            for record in attempts.values()
        )
        return tuple(self.open)

    def carried(self) -> Sequence[Opened]:
        """What must outlive the segments that it is in."""
        return tuple(record for attempts in self.open.values() for record in attempts.values())

    def deletable(self) -> Sequence[Part]:
        """The segments that nobody needs any more. In order and without a gap: one that settles a lease must not go
        before those that opened it, or a later life would take the lease for lost."""
        done: list[Part] = []
        for part in self.parts:
            if not part.done:
                break
            done.append(part)
        return done

    @property
    def over(self) -> bool:
        """The store has all of it, and no more will come."""
        return self.ended and not self.lost and all(part.done for part in self.parts)


class Batch:
    """What goes to the store at once, and how far the journals are shipped when it is there. ``lost`` are journals
    whose lost leases are among the entries."""

    __slots__ = ("acts", "entries", "keys", "lost", "moved")

    def __init__(self) -> None:
        self.entries: list[Entry] = []
        self.acts: list[tuple[str, Act]] = []
        self.keys: list[Used] = []
        self.moved: list[tuple[Part, int]] = []
        self.lost: list[OwnerJournal] = []

    def __bool__(self) -> bool:
        return bool(self.moved or self.lost)

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
                    self._add(record)
                most -= len(records)
                most_bytes -= reader.offset - before
            if reader.offset > part.shipped:
                # The store must not know of what a machine that stops could yet take back: a lease would be lost
                # whose rows are there.
                reader.sync()
                self.moved.append((part, reader.offset))
            if reader.offset < until:
                return

    def _add(self, record: JournalRecord) -> None:
        if isinstance(record, Settled):
            self.entries += record.entries
        elif isinstance(record, Audited):
            self.acts.append((record.id, record.act))
        elif isinstance(record, Used):
            self.keys.append(record)
