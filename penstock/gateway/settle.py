"""Settle: when a reply closes, however it closes, its trail becomes facts for whoever keeps them.

``summed`` and the rules are pure; ``Settling`` is the one that acts.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from typing import Protocol

import msgspec

from penstock.core.accounts import Limit
from penstock.core.chat import Kind, Usage
from penstock.core.clock import Clock
from penstock.core.errors import PenstockError
from penstock.core.metrics import Meter, Sample
from penstock.core.money import NANO
from penstock.core.trail import (
    Admitted,
    Arrived,
    Assigned,
    AttemptFailed,
    AttemptStarted,
    Closed,
    Counted,
    Ending,
    FirstChunk,
    Queued,
    Trail,
    TrailFact,
)
from penstock.gateway import metrics
from penstock.gateway.lease import Lease
from penstock.gateway.refused import Limited
from penstock.gateway.tries import Try

_log = logging.getLogger("penstock.gateway")

# The status that a closed reply is counted under when the client left before there was an answer (nginx's word).
_CLIENT_GONE_STATUS = 499


class Summary(msgspec.Struct, frozen=True):
    """A trail, added up. Times are in seconds; ``first_chunk_s`` is None when there was none; ``model`` and
    ``replica`` are those of the attempt that won, else of the last; ``queued_s`` is the wait for a place,
    None where none was needed; ``release`` the one that the request has drawn, empty where the service has one."""

    request_id: str
    wall: float
    kind: str
    service: str
    model: str
    replica: str
    project: str
    key_id: str
    stream: bool
    attempts: int
    queued_s: float | None
    duration_s: float
    first_chunk_s: float | None
    usage: Usage | None
    cost_nano: int
    ending: Ending
    status: int
    code: str
    release: str = ""


class Settle(Protocol):
    """Hears every trail exactly once, when its request is over, and gives back what it adds up to; ``lease`` is
    closed. ``won`` is the attempt that the client heard, None: none was."""

    def __call__(
        self, trail: Trail, ending: Ending, error: PenstockError | None, lease: Lease | None, won: Try | None
    ) -> Summary: ...


Rule = Callable[[Summary, Sequence[TrailFact], Meter], None]
"""What one summary tells a meter."""

# An enum member's name and value are looked up by Python code.
_KINDS = {kind: kind.name.lower() for kind in Kind}
ENDINGS = {ending: ending.value for ending in Ending}


class Settling:
    """Closes the trail, then hands what the rules make of it to the meter."""

    __slots__ = ("_clock", "_meter")

    def __init__(self, clock: Clock, meter: Meter) -> None:
        self._clock = clock
        self._meter = meter

    def __call__(
        self, trail: Trail, ending: Ending, error: PenstockError | None, lease: Lease | None, won: Try | None
    ) -> Summary:
        status, code = _status(ending, error), error.fault.code if error else ""
        if won is not None and won.usage is not None:
            trail.add(Counted(won.usage))
        cost = 0
        if lease is not None:
            cost = lease.close(won if ending is Ending.COMPLETE else None, ENDINGS[ending], status, code)
        trail.add(Closed(self._clock.now(), ending, status, code, cost))
        summary = summed(trail.facts)
        for rule in RULES:
            rule(summary, trail.facts, self._meter)
        if isinstance(error, Limited):
            about = error.rule.about
            metric = about.metric if isinstance(about, Limit) else "budget"
            self._meter.record(Sample(metrics.LIMITED, 1.0, (summary.service, about.kind, metric)))
        if summary.attempts > 1 or error is not None:
            for fact in _failures(trail.facts):
                _log.warning("request %s attempt %d: %s", summary.request_id, fact.number, fact.message)
        return summary


def telling(settle: Settle, over: Callable[[Summary], None]) -> Settle:
    """``settle``, and ``over`` hears what it gives back."""

    def told(
        trail: Trail, ending: Ending, error: PenstockError | None, lease: Lease | None, won: Try | None
    ) -> Summary:
        summary = settle(trail, ending, error, lease, won)
        over(summary)
        return summary

    return told


def _failures(facts: Sequence[TrailFact]) -> Iterator[AttemptFailed]:
    return (fact for fact in facts if isinstance(fact, AttemptFailed))


def _status(ending: Ending, error: PenstockError | None) -> int:
    if error is not None:
        return error.fault.status
    return 200 if ending is Ending.COMPLETE else _CLIENT_GONE_STATUS


def summed(facts: Sequence[TrailFact]) -> Summary:
    """Adds up a whole trail, which begins with ``Arrived`` and ends with ``Closed``."""
    arrived, closed = facts[0], facts[-1]
    if not isinstance(arrived, Arrived) or not isinstance(closed, Closed):
        raise ValueError("A trail begins with Arrived and ends with Closed.")
    service = release = model = replica = project = key_id = ""
    attempts = 0
    queued: float | None = None
    started: list[AttemptStarted] = []
    first: float | None = None
    usage: Usage | None = None
    for fact in facts:
        # By exact type: a chain of isinstance costs every request several microseconds.
        if type(fact) is Admitted:
            project, key_id = fact.project, fact.key_id
        elif type(fact) is Assigned:
            service, release = fact.service, fact.release
        elif type(fact) is AttemptStarted:
            attempts, model, replica = fact.number, fact.model, fact.replica
            started.append(fact)
        elif type(fact) is FirstChunk:
            first = fact.at - arrived.at
            won = started[fact.number - 1]
            model, replica = won.model, won.replica
        elif type(fact) is Counted:
            usage = fact.usage
        elif type(fact) is Queued:
            queued = fact.waited_s
    return Summary(
        request_id=arrived.request_id,
        wall=arrived.wall,
        kind=_KINDS[arrived.kind],
        service=service,
        model=model,
        replica=replica,
        project=project,
        key_id=key_id,
        stream=arrived.stream,
        attempts=attempts,
        queued_s=queued,
        duration_s=closed.at - arrived.at,
        first_chunk_s=first,
        usage=usage,
        cost_nano=closed.cost_nano,
        ending=closed.ending,
        status=closed.status,
        code=closed.code,
        release=release,
    )


def _requests(summary: Summary, _: Sequence[TrailFact], meter: Meter) -> None:
    model = (summary.service, summary.model)
    labels = (*model, summary.kind, ENDINGS[summary.ending], summary.code)
    meter.record(Sample(metrics.REQUESTS, 1.0, labels))
    meter.record(Sample(metrics.DURATION, summary.duration_s, model))
    if summary.first_chunk_s is not None:
        meter.record(Sample(metrics.FIRST_CHUNK, summary.first_chunk_s, model))


def _tokens(summary: Summary, _: Sequence[TrailFact], meter: Meter) -> None:
    usage = summary.usage
    if usage is not None:
        meter.record(Sample(metrics.TOKENS, usage.prompt, (summary.service, summary.model, "input")))
        meter.record(Sample(metrics.TOKENS, usage.completion, (summary.service, summary.model, "output")))


def _queue_wait(summary: Summary, _: Sequence[TrailFact], meter: Meter) -> None:
    if summary.queued_s is not None:
        meter.record(Sample(metrics.QUEUE_WAIT, summary.queued_s, (summary.service,)))


def _failed_attempts(summary: Summary, facts: Sequence[TrailFact], meter: Meter) -> None:
    if summary.attempts < 2 and summary.ending is Ending.COMPLETE:
        return
    started = {fact.number: fact.model for fact in facts if isinstance(fact, AttemptStarted)}
    for fact in _failures(facts):
        meter.record(Sample(metrics.ATTEMPTS_FAILED, 1.0, (summary.service, started[fact.number], fact.code)))


def _cost(summary: Summary, _: Sequence[TrailFact], meter: Meter) -> None:
    if summary.cost_nano:
        meter.record(Sample(metrics.COST, summary.cost_nano / NANO, (summary.service, summary.model)))


def _assigned(summary: Summary, _: Sequence[TrailFact], meter: Meter) -> None:
    if summary.release:
        labels = (summary.service, summary.release, ENDINGS[summary.ending])
        meter.record(Sample(metrics.ASSIGNED, 1.0, labels))


RULES: tuple[Rule, ...] = (_requests, _tokens, _cost, _queue_wait, _failed_attempts, _assigned)
