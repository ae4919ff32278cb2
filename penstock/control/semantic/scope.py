"""One scope: its desk, its shelf, and what of both is safe on disk. For one thread at a time."""

from __future__ import annotations

import logging
import secrets
import sys
from collections import OrderedDict
from collections.abc import Callable, Iterator
from typing import Final

import msgspec
import numpy as np

from penstock.caches.answers import unpacked
from penstock.caches.invalidations import Invalidations
from penstock.caches.semantic import state
from penstock.caches.semantic.control import Limits
from penstock.caches.semantic.desk import Candidate, Desk, Verdict
from penstock.caches.semantic.ledger import Audit, Ledger
from penstock.caches.semantic.model import Lesson, Model
from penstock.caches.semantic.nearest import Index, Vector
from penstock.caches.semantic.profile import profile
from penstock.control.semantic import entry_log, hit_log
from penstock.control.semantic.entry_log import Standing
from penstock.control.semantic.files import Files, Saved, Unreadable
from penstock.control.semantic.hit_log import HitLog
from penstock.control.semantic.shelf import Item, Shelf, about
from penstock.core.caching import DeskFigures, DeskScope, Seek, Semantic, Sought, Taught
from penstock.core.errors import UPSTREAM_GARBLED, PenstockError

_log = logging.getLogger(__name__)

AUDITED_WITHIN_S: Final = 900.0
"""An audit that takes longer counts as lost."""
_LOOSE: Final = 1_000
"""Frames of the log of entries that need not be of entries that are there."""
_TEACHES: Final = frozenset(("serves", "learning", "risk", "bound", "budget"))
"""Reasons for which the nearest entry is worth a comparison."""
_SHORTEST, _LONGEST = 0.98, 1.02


class Found(msgspec.Struct, frozen=True):
    """What is told of a question, and of a hit which item it got and the 40 digits of its key."""

    sought: Sought
    item: int = -1
    key: str = ""


class Due(msgspec.Struct, frozen=True):
    """``entries`` are to be appended to the log of entries; ``hits`` is a descriptor to bring the hits to the disk by
    and to close, None: they are there. ``live``: the log is to be written anew, with only these. ``frames`` were in
    it, those that are to be appended included; ``erased`` are no longer to be in it."""

    entries: bytes
    hits: int | None
    live: frozenset[int] | None
    frames: int
    erased: int


class Scope:
    """``open`` makes one. ``word`` begins its tickets, which no other scope, and no later one of this name, has."""

    def __init__(
        self, scope: DeskScope, desk: Desk, semantic: Semantic, files: Files, epoch: int,
        shelved: Standing, graph: Callable[[int], Index],
    ) -> None:  # fmt: skip
        """Raises ``OSError``."""
        self.scope = scope
        self.word = secrets.token_hex(8)
        self.desk = desk
        self.shelf = Shelf(desk.dimensions, graph, self._dropped)
        self.shelved = shelved
        self.changed = True
        """There is something to save."""
        self.learnt = False
        """And it is not to wait."""
        self._semantic = semantic
        self._files = files
        self._graph = graph
        self._epoch = epoch
        self._hits = HitLog(files.hits(epoch))
        self._number = shelved.following
        self._waiting: list[bytes] = []
        self._frames = shelved.frames
        self._blind = False
        self._audits: OrderedDict[int, tuple[str, float]] = OrderedDict()

    @classmethod
    def open(cls, scope: DeskScope, ask: Seek, files: Files, graph: Callable[[int], Index]) -> Scope:
        """As it was left on disk, or new. Raises ``OSError``, and ``PenstockError`` as ``seek`` does."""
        dimensions = len(_vector(ask.vector, ask.semantic))
        limits = _limits(ask.semantic)
        try:
            saved = files.state()
        except Unreadable as error:
            _log.warning("the semantic cache of %s begins anew: its state cannot be read: %s", _named(scope), error)
            saved = None
            files.set_aside()
        since = saved.epoch if saved else 0
        desk = Desk(limits, dimensions) if saved is None else _restored(saved, limits, ask.semantic, dimensions)
        hit_log.replay(desk, files.hits_since(since))
        epoch = max([since, *files.epochs()], default=0) + 1
        return cls(scope, desk, ask.semantic, files, epoch, entry_log.standing(files.entries), graph)

    @property
    def size(self) -> int:
        """What its desk has taken, about."""
        rings = (self.desk.labels, self.desk.window)
        return sum(ring.rows.nbytes + ring.first.nbytes + ring.second.nbytes for ring in rings) + (1 << 20)

    def seek(self, ask: Seek, owner: str, coin: float, invalid: Invalidations, wall: float) -> Found:
        """As ``Desk.decide`` has it. ``owner`` is the worker who will say what became of it. Raises ``PenstockError``
        for a vector that is none."""
        vector = _vector(ask.vector, ask.semantic)
        self._adjust(ask.semantic, len(vector))
        self.changed = True
        group = (ask.release, ask.rest)
        item = self.shelf.nearest(group, vector, invalid, wall, wall - ask.semantic.ttl_s)
        if item is None:
            return Found(self._told(self.desk.alone()))
        answered = self.shelf.vector(item)
        candidate = Candidate(profile(ask.text), self.shelf.profile(item), vector, answered, str(item.number))
        learns = self.desk.model is not None
        verdict = self.desk.decide(candidate, coin, may_hit=ask.may_hit and not self._blind)
        distance = max(0.0, 1.0 - float(vector @ answered))
        if verdict.hit and not self._entered(verdict, owner, wall):
            return Found(self._told(verdict, distance, hit=False, reason="bound"))
        sought = self._told(
            verdict, distance, hit=verdict.hit, reason=verdict.reason,
            confidence=1.0 - verdict.risk if learns else None,
            entry=item.packed if verdict.reason in _TEACHES else b"",
        )  # fmt: skip
        return Found(sought, item.number, item.about.key.hex()) if verdict.hit else Found(sought)

    def learn(self, ticket: int, same: bool | None) -> bool:
        """What became of a ticket, None: nobody will know. Whether it was an audit that found a wrong answer."""
        self.changed = True
        audit = self._audits.pop(ticket, None)
        if same is None:
            self.desk.lost(ticket)
        else:
            self.desk.learn(ticket, same)
        if audit is None:
            return False
        try:
            self._hits.close_audit(ticket, same is not True)
        except OSError as error:
            self._lose_sight(error)
        return same is False

    def keep(self, what: Taught, invalid: Invalidations, wall: float) -> None:
        """Passed over: what is past its time, invalidated, no entry, of other embeddings than the scope's, or not
        newer than the answer to the same text."""
        entry = unpacked(what.entry)
        try:
            vector = _vector(what.vector, what.semantic)
        except PenstockError:
            return
        if entry is None or invalid.covers(entry):
            return
        if (what.semantic.embedder, len(vector)) != (self._semantic.embedder, self.desk.dimensions):
            return
        until = entry.created_at + what.semantic.ttl_s
        if until <= wall:
            return
        release = sys.intern(what.release)
        item = Item(self._number, release, what.rest, what.text, what.entry, about(entry), until)
        if self.shelf.has_newer(item):
            return
        self._number += 1
        self.shelf.keep(item, vector)
        self._write(entry_log.kept(item, vector, what.semantic.embedder))

    def refill(
        self, items: Iterator[tuple[Item, Vector]], embedder: str, invalid: Invalidations, wall: float
    ) -> None:
        """What lay in the log, embedded so, comes back to the shelf, but for what is past its time or was replaced
        meanwhile."""
        for item, vector in items:
            near = (embedder, len(vector)) == (self._semantic.embedder, self.desk.dimensions)
            if near and item.until > wall and not invalid.covers(item.about) and not self.shelf.has_newer(item):
                self.shelf.keep(item, vector)
            else:
                self._dropped(item.number)

    def disown(self, ticket: int, item: int) -> None:
        """The answer that this ticket got is wrong, somebody says: nobody gets it any more. What he says teaches, but
        where an audit is under way: that will say what is so, and proves it."""
        if ticket not in self._audits:
            self.learn(ticket, False)
        self.shelf.drop(item)

    def lose(self, owner: str | None, wall: float) -> None:
        """Audits of this worker are lost, for None those that have taken too long."""
        late = [
            ticket
            for ticket, (whose, since) in self._audits.items()
            if whose == owner or (owner is None and since + AUDITED_WITHIN_S <= wall)
        ]
        for ticket in late:
            self.learn(ticket, None)

    def lesson(self) -> tuple[Desk, Lesson] | None:
        """What to learn now, and for whom."""
        lesson = self.desk.lesson()
        return None if lesson is None else (self.desk, lesson)

    def adopt(self, desk: Desk, model: Model) -> None:
        """What was learnt for that desk; worth being saved soon."""
        desk.adopt(model)
        self.learnt = self.changed = True

    def snapshot(self) -> Saved:
        """What to write. Hits from now on are of its epoch. Raises ``OSError``."""
        fresh = HitLog(self._files.hits(self._epoch + 1))
        self._hits.close()
        self._hits, self._epoch = fresh, self._epoch + 1
        self.changed = self.learnt = self._blind = False
        return Saved(
            scope=self.scope, epoch=self._epoch, embedder=self._semantic.embedder, dimensions=self.desk.dimensions,
            requests=self.desk.requests, ledger=self.desk.ledger.state(), desk=state.saved(self.desk),
        )  # fmt: skip

    def due(self) -> Due:
        """What is to be written; once. Raises ``OSError``."""
        frames, self._waiting = b"".join(self._waiting), []
        loose = self._frames > 2 * len(self.shelf) + _LOOSE
        live = self.shelf.numbers() if loose or self.shelf.erased else None
        return Due(frames, self._hits.unsynced(), live, self._frames, self.shelf.erased)

    def rewritten(self, due: Due, frames: int) -> None:
        """The log has been written anew, with so many frames in the place of those that ``due`` counted."""
        self._frames += frames - due.frames
        self.shelf.erased -= due.erased

    def close(self) -> None:
        """Once; what was not saved is in the logs."""
        self._hits.close()

    def figures(self) -> DeskFigures:
        """As of now."""
        found = self.desk.figures()
        return DeskFigures(
            scope=self.scope, max_error=self.desk.limits.max_error, requests=found.requests, hits=found.hits,
            audits=found.audits, wrong_seen=found.wrong_seen, wrong_estimate=found.wrong_estimate,
            wrong_at_most=found.wrong_at_most, threshold=found.threshold, probability=found.probability,
            labels=found.labels, entries=len(self.shelf),
        )  # fmt: skip

    def _told(
        self, verdict: Verdict, distance: float | None = None, *, hit: bool = False, reason: str = "alone",
        confidence: float | None = None, entry: bytes = b"",
    ) -> Sought:  # fmt: skip
        return Sought(
            ticket=f"{self.word}.{verdict.ticket}", hit=hit, audited=hit and verdict.audited, entry=entry,
            distance=distance, confidence=confidence, reason=reason,
        )  # fmt: skip

    def _entered(self, verdict: Verdict, owner: str, wall: float) -> bool:
        """Writes the hit down. False when that failed: then it is not given, though it counts as one."""
        if verdict.audited:
            self._audits[verdict.ticket] = (owner, wall)
        audit = Audit(verdict.probability, verdict.risk)
        try:
            self._hits.enter(verdict.ticket, self.desk.requests, audit, verdict.audited)
        except OSError as error:
            self._lose_sight(error)
            self.learn(verdict.ticket, None)
            return False
        return True

    def _lose_sight(self, error: OSError) -> None:
        if not self._blind:
            _log.error(
                "the semantic cache of %s serves nothing until its state is saved: what it serves cannot be written "
                "down: %s", _named(self.scope), error,
            )  # fmt: skip
        self._blind = self.changed = True

    def _adjust(self, semantic: Semantic, dimensions: int) -> None:
        if semantic == self._semantic and dimensions == self.desk.dimensions:
            return
        limits = _limits(semantic)
        if (semantic.embedder, dimensions) != (self._semantic.embedder, self.desk.dimensions):
            # Other embeddings: what was learnt means nothing in them, what was served stays served.
            for ticket in tuple(self._audits):
                self.learn(ticket, None)
            for number in self.shelf.numbers():
                self.shelf.drop(number)
            self.desk = _begun(limits, dimensions, self.desk.ledger, self.desk.requests, self.desk.tickets)
            self.shelf = Shelf(dimensions, self._graph, self._dropped)
        self.desk.limits = limits
        self._semantic = semantic

    def _dropped(self, number: int) -> None:
        self._write(entry_log.dropped(number))

    def _write(self, frame: bytes) -> None:
        self._waiting.append(frame)
        self._frames += 1


def _limits(semantic: Semantic) -> Limits:
    return Limits(semantic.max_error, semantic.max_wrong_per_hit, semantic.audit_floor)


def _restored(saved: Saved, limits: Limits, semantic: Semantic, dimensions: int) -> Desk:
    if (saved.embedder, saved.dimensions) == (semantic.embedder, dimensions):
        try:
            return state.restored(limits, dimensions, saved.desk)
        except state.Unreadable as error:
            _log.warning("the semantic cache of %s learns anew: %s", _named(saved.scope), error)
    return _begun(limits, dimensions, Ledger(limits.alpha, saved.ledger), saved.requests, 0)


def _begun(limits: Limits, dimensions: int, ledger: Ledger, requests: int, tickets: int) -> Desk:
    """A desk that has learnt nothing, and has served what it has."""
    desk = Desk(limits, dimensions)
    desk.ledger, desk.requests, desk.tickets = ledger, requests, tickets
    return desk


def _vector(data: bytes, semantic: Semantic) -> Vector:
    vector = np.frombuffer(data, "<f4") if data and len(data) % 4 == 0 else np.zeros(0, np.float32)
    if not _SHORTEST < float(vector @ vector) < _LONGEST:
        raise PenstockError(
            UPSTREAM_GARBLED,
            f"The embedding by service {semantic.embedder!r} is no vector of length 1; name a service that gives "
            "such in `cache: semantic: embedder`.",
        )
    return vector


def _named(scope: DeskScope) -> str:
    return f"{scope.project}/{scope.service}" + ("/…" if scope.caller else "")
