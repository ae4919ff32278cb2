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
    Recalled,
    Trail,
    TrailFact,
)
from penstock.gateway import metrics
from penstock.gateway.lease import Lease
from penstock.gateway.refused import Limited
from penstock.gateway.tries import Try
from penstock.observe.masking import masked_text

_log = logging.getLogger("penstock.gateway")

# The status that a closed reply is counted under when the client left before there was an answer (nginx's word).
_CLIENT_GONE_STATUS = 499


class Summary(msgspec.Struct, frozen=True):
    """A trail, added up. Times are in seconds; ``first_chunk_s`` is None when there was none; ``model`` and
    ``replica`` are those of the attempt that won, else of the last; ``queued_s`` is the wait for a place,
    None where none was needed; ``release`` the one that the request has drawn, empty where the service has one.
    ``cache`` is the verdict of caches, empty: they were not asked; ``saved_nano`` what an answer from there saved.
    ``overhead_s`` is what the gateway took for itself, of a stream until its first chunk;
    ``between_s`` the mean time between two output tokens of a stream, None: not streamed to its end, or fewer than
    two."""

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
    overhead_s: float = 0.0
    between_s: float | None = None
    cache: str = ""
    saved_nano: int = 0


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
        summary = summed(trail.facts, trail.away)
        for rule in RULES:
            rule(summary, trail.facts, self._meter)
        if isinstance(error, Limited):
            about = error.rule.about
            metric = about.metric if isinstance(about, Limit) else "budget"
            self._meter.record(Sample(metrics.LIMITED, 1.0, (summary.service, about.kind, metric)))
        if summary.attempts > 1 or error is not None:
            for fact in _failures(trail.facts):
                _log.warning("request %s attempt %d: %s", summary.request_id, fact.number, masked_text(fact.message))
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


def summed(facts: Sequence[TrailFact], away_s: float = 0.0) -> Summary:
    """Adds up a whole trail, which begins with ``Arrived`` and ends with ``Closed``; ``away_s`` as ``Trail.away``."""
    arrived, closed = facts[0], facts[-1]
    if not isinstance(arrived, Arrived) or not isinstance(closed, Closed):
        raise ValueError("A trail begins with Arrived and ends with Closed.")
    service = release = model = replica = project = key_id = cache = ""
    attempts = saved = 0
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
            # An attempt that could not be reserved has a number and was not started.
            won = started[0] if len(started) == 1 else next(each for each in started if each.number == fact.number)
            model, replica = won.model, won.replica
        elif type(fact) is Counted:
            usage = fact.usage
        elif type(fact) is Queued:
            queued = fact.waited_s
        elif type(fact) is Recalled:
            cache, saved = fact.verdict, fact.saved_nano
    duration = closed.at - arrived.at
    streamed = arrived.stream and closed.ending is Ending.COMPLETE
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
        duration_s=duration,
        first_chunk_s=first,
        usage=usage,
        cost_nano=closed.cost_nano,
        ending=closed.ending,
        status=closed.status,
        code=closed.code,
        release=release,
        # Once a stream has begun, what it waits for is the model's next word; hedged attempts are away side by side.
        overhead_s=max(0.0, (first if arrived.stream and first is not None else duration) - away_s),
        between_s=_between(usage, duration - first) if streamed and first is not None else None,
        cache=cache,
        saved_nano=saved,
    )


def _between(usage: Usage | None, streamed_s: float) -> float | None:
    return streamed_s / (usage.completion - 1) if usage is not None and usage.completion > 1 else None


def _requests(summary: Summary, _: Sequence[TrailFact], meter: Meter) -> None:
    service, model, release = summary.service, summary.model, summary.release
    how = (service, model, summary.kind, ENDINGS[summary.ending], summary.code, release, summary.project)
    meter.record(Sample(metrics.REQUESTS, 1.0, how))
    labels = (service, model, summary.kind, release)
    meter.record(Sample(metrics.DURATION, summary.duration_s, (*labels, summary.code)))
    meter.record(Sample(metrics.OVERHEAD, summary.overhead_s, (service,)))
    if summary.first_chunk_s is not None:
        meter.record(Sample(metrics.FIRST_CHUNK, summary.first_chunk_s, labels))
    if summary.between_s is not None:
        meter.record(Sample(metrics.BETWEEN, summary.between_s, labels))
        if summary.between_s > 0.0:
            meter.record(Sample(metrics.SPEED, 1.0 / summary.between_s, (service, model)))


def _tokens(summary: Summary, _: Sequence[TrailFact], meter: Meter) -> None:
    usage = summary.usage
    if usage is None:
        return
    service, model, kind = summary.service, summary.model, summary.kind
    of = (summary.release, summary.project)
    for direction, count in (("input", usage.prompt), ("output", usage.completion)):
        meter.record(Sample(metrics.TOKENS, count, (service, model, direction, *of)))
        meter.record(Sample(metrics.REQUEST_TOKENS, count, (service, model, kind, direction)))


def _queue_wait(summary: Summary, _: Sequence[TrailFact], meter: Meter) -> None:
    if summary.queued_s is not None:
        meter.record(Sample(metrics.QUEUE_WAIT, summary.queued_s, (summary.service,)))


def _attempts(summary: Summary, facts: Sequence[TrailFact], meter: Meter) -> None:
    """An attempt that was broken off, as its client left or another was faster, ended with the request."""
    closed = facts[-1]
    if not summary.attempts or not isinstance(closed, Closed):
        return
    service, kind, end = summary.service, summary.kind, closed.at
    open_: dict[int, AttemptStarted] = {}
    first: AttemptStarted | None = None
    won = 0
    for fact in facts:
        if type(fact) is AttemptStarted:
            open_[fact.number] = fact
            if first is None:
                first = fact
            else:
                meter.record(Sample(metrics.RETRIES, 1.0, (service, fact.model)))
        elif type(fact) is AttemptFailed:
            began = open_.pop(fact.number)
            labels = (service, began.model, kind, fact.code)
            meter.record(Sample(metrics.ATTEMPTS, fact.at - began.at, labels))
            meter.record(Sample(metrics.ATTEMPTS_FAILED, 1.0, (service, began.model, fact.code)))
        elif type(fact) is FirstChunk:
            won = fact.number
    for number, began in open_.items():
        code = summary.code if number == won else ""
        meter.record(Sample(metrics.ATTEMPTS, end - began.at, (service, began.model, kind, code)))
    if won and first is not None and summary.model != first.model:
        meter.record(Sample(metrics.FALLBACKS, 1.0, (service, summary.model)))


def _cost(summary: Summary, _: Sequence[TrailFact], meter: Meter) -> None:
    if summary.cost_nano:
        labels = (summary.service, summary.model, summary.release, summary.project)
        meter.record(Sample(metrics.COST, summary.cost_nano / NANO, labels))


def _cached(summary: Summary, _: Sequence[TrailFact], meter: Meter) -> None:
    if summary.cache:
        meter.record(Sample(metrics.CACHE, 1.0, (summary.service, summary.cache)))
        if summary.saved_nano:
            meter.record(Sample(metrics.SAVED, summary.saved_nano / NANO, (summary.service, summary.project)))


def _assigned(summary: Summary, _: Sequence[TrailFact], meter: Meter) -> None:
    if summary.release:
        labels = (summary.service, summary.release, ENDINGS[summary.ending])
        meter.record(Sample(metrics.ASSIGNED, 1.0, labels))


RULES: tuple[Rule, ...] = (_requests, _tokens, _cost, _queue_wait, _attempts, _assigned, _cached)
