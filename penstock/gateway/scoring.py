"""Scoring: what rollouts know of an answer. What needs no more than the trail is known at once; what needs the text
of the answer, or another model, is worked on when the client has its last byte.

A request that failed scores 0 in everything. Not scored at all are requests whose client left, or was at fault itself
(a 4xx for what it sent), or was refused for what all releases share: limits, budgets, the state of the gateway.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence

import msgspec

from penstock.core import errors
from penstock.core.chat import Call, Kind
from penstock.core.clock import Clock
from penstock.core.errors import Fault, PenstockError
from penstock.core.metrics import Meter, Sample
from penstock.core.money import NANO
from penstock.core.releases import Measure, Score, Scored
from penstock.core.serving import Watched
from penstock.core.trail import Ending
from penstock.gateway import metrics
from penstock.gateway.assessing import Answer, Assessing
from penstock.gateway.backlog import Backlog
from penstock.gateway.capture import Transcript
from penstock.gateway.inside import Ask, Embed
from penstock.gateway.means import Journal
from penstock.gateway.settle import Summary
from penstock.quality import scorers

_log = logging.getLogger("penstock.gateway")

_AT_ONCE = 4
_WAITING = 256
_WAITING_BYTES = 32 << 20
_WITHIN_S = 120.0

_READ = frozenset(("format", "similarity", "judge"))
"""Scorers that need the text of the answer."""

_CLIENTS = frozenset(("invalid_request_error", "authentication_error", "permission_error", "insufficient_quota"))
_SHARED = frozenset(
    fault.code
    for fault in (
        errors.RATE_LIMITED,
        errors.COUNTERS_UNAVAILABLE,
        errors.JOURNAL_FULL,
        errors.IDENTITIES_STALE,
        errors.OUT_OF_RESOURCES,
        errors.STOPPING,
    )
)
# Of what comes after everybody else.
_NO_PLACE = frozenset(fault.code for fault in (errors.QUEUE_FULL, errors.SHED, errors.QUEUE_TIMEOUT))


class Subject(msgspec.Struct, frozen=True, kw_only=True):
    """What is scored: the answer of ``release`` to a request that came at ``at``, seconds since the epoch.
    ``copied``: to a copy of it; ``champion`` is then what the client was told. ``paired``: it is compared with the
    answer to the same request, and as copies come after everybody else, the wait for a place is left out of both."""

    request_id: str
    at: float
    service: str
    release: str
    unit: str
    watched: Watched
    paired: bool = False
    copied: bool = False
    champion: Transcript | None = None


def counts(ending: Ending, error: PenstockError | None, copied: bool = False) -> bool:
    """Whether how a request ended says anything of its release."""
    if ending is Ending.CLIENT_GONE:
        return False
    return error is None or not _elsewhere(error.fault, copied)


def _elsewhere(fault: Fault, copied: bool) -> bool:
    if fault.code == errors.BAD_DEPLOYMENT.code:
        # A prompt, or defaults, that cannot be used.
        return False
    return fault.type in _CLIENTS or fault.code in _SHARED or (copied and fault.code in _NO_PLACE)


def at_once(of: Measure, summary: Summary, paired: bool = False) -> float | None:
    """The score of an answer that came to ``summary``; None: it cannot be had from that."""
    took_s = summary.duration_s - (summary.queued_s or 0.0 if paired else 0.0)
    match of.scorer, of.bound:
        case "success", _:
            return scorers.success(failed=False)
        case "latency", float(bound):
            return scorers.latency(took_s, bound)
        case "speed", float(bound) if summary.usage is not None:
            return scorers.speed(summary.usage.completion, took_s, bound)
        case "cost", float(bound):
            return scorers.cost(summary.cost_nano / NANO, bound)
    return None


class Scoring:
    """Makes scores and writes them; what has no room to wait is shed. Belongs to one event loop."""

    def __init__(self, journal: Journal, clock: Clock, meter: Meter, embed: Embed) -> None:
        self._journal = journal
        self._clock = clock
        self._meter = meter
        self._assessing = Assessing(embed)
        # What a scorer that is down says is said once, not for each request of a busy service.
        self._failing: set[str] = set()
        self._backlog = Backlog(at_once=_AT_ONCE, waiting=_WAITING, size=_WAITING_BYTES, within_s=_WITHIN_S)

    def transcript(self, watched: Watched) -> Transcript | None:
        """Where the answer is to be taken down; None: nobody reads it."""
        return Transcript(True) if any(each.scorer in _READ for each in watched.measures) else None

    def over(
        self,
        subject: Subject,
        summary: Summary,
        error: PenstockError | None,
        call: Call,
        transcript: Transcript | None,
        ask: Ask,
    ) -> None:
        """The request is over: what is known is in the journal when this returns, the rest follows. ``call`` is what
        the client sent. Never waits and never raises."""
        known: list[tuple[Measure, float, str]] = []
        later: list[Measure] = []
        for each in subject.watched.measures:
            if each.scorer == "feedback":
                continue
            if error is not None:
                known.append((each, 0.0, error.fault.code))
            elif each.scorer in _READ:
                later.append(each)
            elif (value := at_once(each, summary, subject.paired)) is not None:
                known.append((each, value, ""))
        self._write(subject, known)
        if not later:
            return
        if transcript is None or call.kind is Kind.EMBEDDING:
            self._missed(subject, later, "unreadable")
            return
        champion = None if subject.champion is None else subject.champion.first()
        answer = Answer(call, transcript.first(), champion)

        async def work() -> None:
            await self._work(subject, answer, later, ask)

        if not self._backlog.offer(work, answer.size):
            self._missed(subject, later, "shed")

    async def idle(self) -> None:
        """Returns once nothing is left to score."""
        await self._backlog.idle()

    async def aclose(self) -> None:
        """Drops what is not scored yet."""
        await self._backlog.aclose()

    async def _work(self, subject: Subject, answer: Answer, later: Sequence[Measure], ask: Ask) -> None:
        known: list[tuple[Measure, float, str]] = []
        left = list(later)
        name = f"{subject.request_id}:copy" if subject.copied else subject.request_id
        try:
            while left:
                try:
                    score = await self._assessing.score(left[0], subject.request_id, name, answer, ask)
                except (PenstockError, ValueError) as error:
                    if left[0].version not in self._failing:
                        self._failing.add(left[0].version)
                        _log.warning(
                            "request %s has no score %s, and those that follow may have none: %s",
                            name,
                            left[0].metric,
                            error,
                        )
                    self._missed(subject, left[:1], "failed")
                else:
                    self._failing.discard(left[0].version)
                    if score is not None:
                        known.append((left[0], *score))
                del left[0]
        finally:
            self._missed(subject, left, "late")
            self._write(subject, known)

    def _write(self, subject: Subject, known: Sequence[tuple[Measure, float, str]]) -> None:
        if not known:
            return
        now = self._clock.wall()
        scores = tuple(
            Score(
                request_id=subject.request_id,
                at=subject.at,
                arrived_at=now,
                service=subject.service,
                release=subject.release,
                rollout=subject.watched.rollout,
                metric=each.metric,
                version=each.version,
                value=value,
                unit=subject.unit,
                copied=subject.copied,
                note=note,
            )
            for each, value, note in known
        )
        try:
            self._journal.write(Scored(scores))
        except PenstockError as error:
            _log.error("scores of request %s are lost: %s", subject.request_id, error.message)
            self._missed(subject, [each for each, _, _ in known], "unwritten")
            return
        for score in scores:
            self._meter.record(Sample(metrics.SCORES, 1.0, (score.service, score.release, score.metric)))

    def _missed(self, subject: Subject, of: Sequence[Measure], reason: str) -> None:
        for each in of:
            self._meter.record(Sample(metrics.SCORES_MISSED, 1.0, (subject.service, each.metric, reason)))
