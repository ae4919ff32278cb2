"""Likeness: whether the answer to another question serves a request, and how the next ones come to know.

Who decides is the desk of the request's scope, in the supervisor. Here the question is found and embedded, and what
becomes of it is told: every ticket of a desk is answered exactly once, but for hits that are served and not audited.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import msgspec

from penstock.caches.answers import packed, unpacked
from penstock.core.caching import CacheKey, DeskScope, Entry, Learnt, Seek, Sought, Taught, subject_digest
from penstock.core.chat import Call
from penstock.core.clock import Clock
from penstock.core.metrics import Meter
from penstock.core.serving import Service
from penstock.gateway.backlog import Backlog
from penstock.gateway.inside import Ask, Embed
from penstock.gateway.likeness_audits import Auditing, Subject
from penstock.gateway.likeness_checks import compact, text_of
from penstock.gateway.likeness_question import Question, question
from penstock.gateway.likeness_seeking import Desks, Seeking
from penstock.gateway.recall import caller_of
from penstock.gateway.snapshot import Admission

# Answers that were made and are to be taught, once their clients have them.
_TAUGHT_WAITING: Final = 1024
_TAUGHT_BYTES: Final = 32 << 20
_TAUGHT_WITHIN_S: Final = 10.0


class Likenesses:
    """One object per worker, used by all its tasks at once. ``invalid`` says which entries are not served any more;
    ``ask`` asks the gateway, as itself; of budgets this worker has its share, one of ``workers``."""

    def __init__(
        self,
        desks: Desks,
        embed: Embed,
        ask: Ask,
        clock: Clock,
        meter: Meter,
        *,
        invalid: Callable[[Entry], bool],
        workers: int = 1,
    ) -> None:
        self._desks = desks
        self._clock = clock
        self._invalid = invalid
        self._teaching = Backlog(at_once=1, waiting=_TAUGHT_WAITING, size=_TAUGHT_BYTES, within_s=_TAUGHT_WITHIN_S)
        self._auditing = Auditing(embed, ask, clock, meter, workers)
        self._seeking = Seeking(desks, embed, clock, meter)
        self._open: dict[str, None] = {}

    def past(self, call: Call, service: Service, sent: Call) -> str:
        """Why the prepared call, which a client sent as ``sent``, is not compared with others, one word; empty: it
        may be."""
        found = question(call, sent, service)
        return "" if isinstance(found, Question) else found

    async def seek(
        self, call: Call, service: Service, admission: Admission, release: str, key: CacheKey, sent: Call
    ) -> Near | None:
        """What is known of the question nearest to the prepared call, as ``release`` answers it. None: it is not
        compared with others, or nobody can tell. Waits as ``Seeking`` does, and never raises for want of an
        answer."""
        found = question(call, sent, service)
        policy = service.policy.cache
        if not isinstance(found, Question) or policy is None or policy.semantic is None:
            return None
        of = Subject(sent, found.text, service, policy.semantic, admission)
        caller = caller_of(policy, admission, call)
        scope = DeskScope(
            admission.principal.project, service.name, subject_digest(caller) if policy.per_caller else ""
        )
        may_hit = self._auditing.able(service, policy.semantic, sent, admission.snapshot)
        told = await self._seeking(of, found, scope, release, may_hit)
        return None if told is None else self._near(of, told.ask, told.sought, release)

    async def idle(self) -> None:
        """Returns once nothing is left to teach and to compare."""
        await self._teaching.idle()
        await self._auditing.idle()

    async def aclose(self) -> None:
        """Breaks off what is under way. Of all that is open the desks hear that nobody will know."""
        await self._seeking.aclose()
        await self._teaching.aclose()
        await self._auditing.aclose()
        for ticket in tuple(self._open):
            self.tell(ticket, None)

    def tell(self, ticket: str, same: bool | None) -> None:
        """What became of a ticket; only the first word counts."""
        if ticket in self._open:
            del self._open[ticket]
            self._desks.learn(Learnt(ticket, same))

    # -- asking ------------------------------------------------------------------------------------------------------

    def _near(self, of: Subject, ask: Seek, sought: Sought, release: str) -> Near:
        if sought.ticket:
            self._open[sought.ticket] = None
        entry = unpacked(sought.entry) if sought.entry else None
        if entry is not None and not self._serves(entry, of, release):
            entry = None
        if sought.hit and entry is None:
            self.tell(sought.ticket, None)
        return Near(self, of, ask, sought, entry)

    def _serves(self, entry: Entry, of: Subject, release: str) -> bool:
        """Whether the entry is what such a question may be answered with, now."""
        if (entry.kind, entry.project, entry.release) != (of.sent.kind, of.admission.principal.project, release):
            return False
        until = entry.created_at + min(entry.fresh_for_s, of.semantic.ttl_s)
        return self._clock.wall() < until and not self._invalid(entry) and text_of(entry) is not None

    # -- what comes of it --------------------------------------------------------------------------------------------

    def given(self, near: Near) -> None:
        """What ``Near`` says."""
        ticket = near.sought.ticket
        if near.entry is None:
            self.tell(ticket, None)
        elif near.sought.audited:
            self._auditing.audit(near.of, near.entry, lambda same: self.tell(ticket, same))
        else:
            self._open.pop(ticket, None)

    def made(self, near: Near, entry: Entry) -> None:
        """What ``Near`` says."""
        ticket = near.sought.ticket

        async def teach() -> None:
            self._teach(near, entry)

        if not self._teaching.offer(teach, sum(map(len, entry.chunks))):
            self.tell(ticket, None)

    def _teach(self, near: Near, entry: Entry) -> None:
        ticket, of = near.sought.ticket, near.of
        made = compact(entry)
        if made is None:
            self.tell(ticket, None)
            return
        self._desks.keep(_taught(near.ask, made))
        if near.nearest is None or near.sought.hit:
            self.tell(ticket, None)
        else:
            self._auditing.compare(of, made, near.nearest, lambda same: self.tell(ticket, same))


class Near:
    """One question's. ``entry`` serves it, None: it is a miss; exactly one of ``given``, ``made`` and ``lost`` is
    called when the request is over, and only the first counts. None of them waits or raises."""

    __slots__ = ("_over", "_to", "ask", "confidence", "distance", "entry", "nearest", "of", "reason", "sought")

    def __init__(self, to: Likenesses, of: Subject, ask: Seek, sought: Sought, entry: Entry | None) -> None:
        self._to = to
        self._over = False
        self.of = of
        self.ask = ask
        self.sought = sought
        self.entry = entry if sought.hit else None
        self.nearest = entry
        self.distance = sought.distance
        self.confidence = sought.confidence
        # What was to serve is expired, invalidated or damaged.
        self.reason = sought.reason if entry is not None or not sought.hit else "gone"

    def given(self) -> None:
        """The client got ``entry``. Where that is audited, an answer is made behind and compared."""
        if self._ends():
            self._to.given(self)

    def made(self, entry: Entry) -> None:
        """The client got an answer of its own, which may be kept: it is compared with the nearest, and others may get
        it from now on."""
        if self._ends():
            self._to.made(self, entry)

    def lost(self) -> None:
        """Nothing came of it."""
        if self._ends():
            self._to.tell(self.sought.ticket, None)

    def _ends(self) -> bool:
        over, self._over = self._over, True
        return not over


def _taught(ask: Seek, entry: Entry) -> Taught:
    # It serves other questions for as long as those may have it, not for as long as equal requests.
    kept = msgspec.structs.replace(entry, fresh_for_s=ask.semantic.ttl_s, stale_for_s=0.0, fallback_for_s=0.0)
    return Taught(
        scope=ask.scope,
        release=ask.release,
        semantic=ask.semantic,
        text=ask.text,
        rest=ask.rest,
        vector=ask.vector,
        entry=packed(kept),
    )
