"""Audits: what a question would have been answered is made behind, and compared with what was served; and answers
that were made anyway are compared with the nearest. Nobody waits for either."""

from __future__ import annotations

import logging
from collections.abc import Callable

import msgspec

from penstock.core.caching import Entry, Semantic, subject_digest
from penstock.core.chat import Call
from penstock.core.clock import Clock
from penstock.core.errors import PenstockError
from penstock.core.metrics import Counter, Meter, Sample
from penstock.core.policy import Terms
from penstock.core.serving import Service
from penstock.gateway import likeness_metrics as metrics
from penstock.gateway.backlog import Backlog
from penstock.gateway.capture import Transcript
from penstock.gateway.inside import Ask, Embed, inner, read, size_of
from penstock.gateway.likeness_budget import Spending
from penstock.gateway.likeness_checks import Compared, plain_text, same, text_of
from penstock.gateway.lot import FORCE
from penstock.gateway.record import subject
from penstock.gateway.settle import Summary
from penstock.gateway.snapshot import Admission, Snapshot
from penstock.routing.work import estimate

_log = logging.getLogger("penstock.gateway")

_AUDITS_AT_ONCE = 8
_AUDITS_WAITING = 1024
_AUDITS_BYTES = 32 << 20
_AUDIT_WITHIN_S = 600.0

_COMPARED_AT_ONCE = 8
_COMPARED_WAITING = 256
_COMPARED_BYTES = 16 << 20
_COMPARED_WITHIN_S = 120.0

_OF_MISSES = 0.5
"""The share of the budget that judges of misses may use: what is left is for audits, so that learning never stops
hits."""


class Subject(msgspec.Struct, frozen=True):
    """One question: ``sent`` as the client sent it, ``text`` its words; ``service`` what serves it, with the release
    that it has drawn."""

    sent: Call
    text: str
    service: Service
    semantic: Semantic
    admission: Admission


Heard = Callable[[bool | None], None]
"""Whether two answers are the same, None: nobody will know. Called exactly once."""


class Auditing:
    """So many at once, some more may wait. Belongs to one event loop. Of budgets this worker has its share, one of
    ``workers``."""

    def __init__(self, embed: Embed, ask: Ask, clock: Clock, meter: Meter, workers: int) -> None:
        self._embed = embed
        self._ask = ask
        self._meter = meter
        self._spending = Spending(clock, workers)
        self._audits = Backlog(
            at_once=_AUDITS_AT_ONCE, waiting=_AUDITS_WAITING, size=_AUDITS_BYTES, within_s=_AUDIT_WITHIN_S
        )
        self._compared = Backlog(
            at_once=_COMPARED_AT_ONCE, waiting=_COMPARED_WAITING, size=_COMPARED_BYTES, within_s=_COMPARED_WITHIN_S
        )
        self._under_way = 0
        self._bytes = 0
        # What a check that is down says is said once, not for each request of a busy service.
        self._failing: set[str] = set()

    def able(self, service: Service, semantic: Semantic, call: Call, on: Snapshot) -> bool:
        """Whether a hit could be audited: there is something left of the day's budget, and room for one more. What
        could not be audited would count as wrong."""
        room = 2 * self._under_way < _AUDITS_WAITING and 2 * self._bytes < _AUDITS_BYTES
        return room and self._spending.left(service, semantic, call, on)

    def audit(self, of: Subject, served: Entry, heard: Heard) -> None:
        """Makes the answer behind, and compares it with what was served."""
        size = size_of(of.sent) + sum(map(len, served.chunks))
        self._under_way += 1
        self._bytes += size

        async def work() -> None:
            found: bool | None = None
            try:
                found = await self._audited(of, served)
            finally:
                self._under_way -= 1
                self._bytes -= size
                self._told(of, metrics.AUDITS, "failed", found)
                heard(found)

        if not self._audits.offer(work, size):
            self._under_way -= 1
            self._bytes -= size
            self._told(of, metrics.AUDITS, "failed", None)
            heard(None)

    def compare(self, of: Subject, made: Entry, nearest: Entry, heard: Heard) -> None:
        """Compares what was made for the question with the nearest answer."""
        judged = of.semantic.agreement.check == "judge"
        if judged and not self._spending.left(
            of.service, of.semantic, of.sent, of.admission.snapshot, share=_OF_MISSES
        ):
            self._told(of, metrics.COMPARISONS, "unpaid", None)
            heard(None)
            return

        async def work() -> None:
            found: bool | None = None
            try:
                found = await self._compared_with(of, text_of(made), nearest, "near")
            finally:
                self._told(of, metrics.COMPARISONS, "failed", found)
                heard(found)

        if not self._compared.offer(work, sum(map(len, (*made.chunks, *nearest.chunks)))):
            self._told(of, metrics.COMPARISONS, "shed", None)
            heard(None)

    async def idle(self) -> None:
        """Returns once there is nothing to do."""
        await self._audits.idle()
        await self._compared.idle()

    async def aclose(self) -> None:
        """Breaks off what is under way; of what waits nobody hears."""
        await self._audits.aclose()
        await self._compared.aclose()

    async def _audited(self, of: Subject, served: Entry) -> bool | None:
        # Not under the client's id, which is the served answer's.
        call = msgspec.structs.replace(of.sent, request_id=f"{of.sent.request_id}:audit")
        release = of.service.release
        terms = Terms(headers={FORCE: release.encode()} if release else {})
        heard = Transcript(True, hashed=False)
        # What a fallback would say is no answer that could have been kept.
        first = frozenset(of.service.models[:1])
        try:
            reply = await self._ask(call, inner(first), terms, lambda summary: self._spent(of, call, summary))
            await read(reply, heard)
        except PenstockError as error:
            self._failed(of, "cannot be made again", error)
            return None
        return await self._compared_with(of, plain_text(heard.first()), served, "audit")

    async def _compared_with(self, of: Subject, made: str | None, other: Entry, what: str) -> bool | None:
        known = text_of(other)
        if made is None or known is None:
            return None
        compared = Compared(
            f"{of.sent.request_id}:{what}",
            of.text,
            made,
            known,
            of.semantic.embedder,
            (subject_digest(subject(of.sent)), other.subject),
        )
        try:
            found = await same(
                of.semantic.agreement,
                compared,
                self._embed,
                self._ask,
                lambda call, summary: self._spent(of, call, summary),
            )
        except (PenstockError, ValueError) as error:
            self._failed(of, "cannot be compared", error)
            return None
        self._failing.discard(of.service.name)
        return found

    def _spent(self, of: Subject, call: Call, summary: Summary) -> None:
        usage = summary.usage
        tokens = usage.prompt + usage.completion if usage is not None else estimate(call) if summary.attempts else 0
        self._spending.spent(of.service.name, tokens, summary.cost_nano)
        self._meter.record(Sample(metrics.AUDIT_TOKENS, tokens, (of.service.name,)))

    def _failed(self, of: Subject, what: str, error: Exception) -> None:
        if of.service.name not in self._failing:
            self._failing.add(of.service.name)
            _log.warning(
                "request %s: an answer of '%s' %s, so nobody knows whether a cached one is right, and those that "
                "follow may have the same: %s",
                of.sent.request_id,
                of.service.name,
                what,
                error,
            )

    def _told(self, of: Subject, metric: Counter, otherwise: str, found: bool | None) -> None:
        outcome = otherwise if found is None else "same" if found else "different"
        self._meter.record(Sample(metric, 1.0, (of.service.name, outcome)))
