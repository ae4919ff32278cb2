"""What is known of one owner's journal on its way to the store: how far it was read, what is open in it."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec

from penstock.core.releases import Scored
from penstock.core.usage import Audited, Entry, Opening, Settled, Used
from penstock.store.journal_folder import CARRIED, Segment, carry, set_aside
from penstock.store.journal_reader import JournalReader

_log = logging.getLogger(__name__)
_bound = msgspec.msgpack.Decoder(Entry)


class Part:
    """One segment. ``following`` has read it up to ``followed``; the store has it up to ``shipped``. What is between
    is in memory, but for what is before ``left``, which waits on the disk alone and is read again by ``shipping``.
    ``whole``: nothing more is written to it, and all of it was followed."""

    __slots__ = ("followed", "following", "left", "number", "path", "shipped", "shipping", "size", "whole")

    def __init__(self, segment: Segment) -> None:
        self.number = segment.number
        self.path = segment.path
        self.size = segment.size
        self.following = JournalReader(segment.path, whole=False)
        self.shipping = JournalReader(segment.path, only=(Settled, Audited, Used, Scored))
        self.followed = 0
        self.left = 0
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
    """All segments of one owner, in order. ``open`` are the leases that are not settled, with what each attempt may
    cost. ``ended``: the owner is gone and everything was followed; ``lost`` are then the rows for what it left open,
    until the store has them. ``unknown`` counts those that this version cannot read."""

    __slots__ = ("_newest", "ended", "lost", "name", "open", "parts", "unknown")

    def __init__(self, name: str) -> None:
        self.name = name
        self.parts: list[Part] = []
        self.open: dict[str, tuple[Opening, ...]] = {}
        self.lost: tuple[Entry, ...] = ()
        self.ended = False
        self.unknown = 0
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

    @property
    def next(self) -> Part | None:
        """The one to read on in."""
        return next((part for part in self.parts if not part.whole), None)

    def opens(self, record: Opening) -> bool:
        """Whether it is news: what was carried may be met again where it was first."""
        attempts = self.open.get(record.lease)
        if attempts is None:
            self.open[record.lease] = (record,)
            return True
        if any(bytes(each.bound) == bytes(record.bound) for each in attempts):
            return False
        self.open[record.lease] = (*attempts, record)
        return True

    def end(self, at: float) -> Sequence[str]:
        """Nothing more will come: the leases that nobody will settle. Their bounds become rows, at ``at``."""
        self.ended = True
        lost = []
        for record in self.carried():
            try:
                bound = _bound.decode(record.bound)
            except msgspec.MsgspecError as error:
                self.unknown += 1
                _log.error("what %s may have used at most is unknown to this version: %s", record.lease, error)
                continue
            ended = max(at, bound.received_at)
            lost.append(
                msgspec.structs.replace(bound, estimated=True, ending="worker_lost", status=500, settled_at=ended)
            )
        self.lost = tuple(lost)
        return tuple(self.open)

    def carried(self) -> Sequence[Opening]:
        """What must outlive the segments that it is in."""
        return tuple(itertools.chain.from_iterable(self.open.values()))

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


def delete(folder: Path, owner: str, carried: Sequence[Opening], parts: Sequence[Part]) -> None:
    """These segments, once what must outlive them is in another; a damaged one is kept aside. In order, so that what
    a crash leaves is the end of the journal and not its begin. Raises ``OSError``."""
    carry(folder, owner, carried)
    for part in parts:
        if part.number == CARRIED:
            continue
        if part.following.damaged or part.following.skipped:
            _log.error("the damaged segment is kept as %s", set_aside(part.path))
        else:
            part.path.unlink(missing_ok=True)
