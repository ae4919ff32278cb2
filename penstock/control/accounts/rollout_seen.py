"""What the scores of a rollout look like to people: how the difference of each gate came to be known, and the answers
that fell most behind."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Literal

import msgspec

from penstock.control.accounts.operation import Proof, Scores, Sources
from penstock.control.accounts.rollouts import found
from penstock.control.accounts.turn import Page, Turn, invalid, limit_of, near
from penstock.core.administration import Ask
from penstock.core.releases import Rollout, Score

POINTS = 40
"""Of one course, but for the last."""
READ = 60_000
"""Scores of which a course is made at most: the first."""
PAIRS = 50

_AT_ONCE = 2000


class CoursePoint(msgspec.Struct, frozen=True, kw_only=True):
    """What was known when the candidate had `units` of its own, at `at`: `difference`, candidate less champion, lies
    between `low` and `high`."""

    units: int
    at: float
    difference: float
    low: float
    high: float


class GateCourse(msgspec.Struct, frozen=True, kw_only=True):
    """How the difference in one metric came to be known; `points` by ascending `units`."""

    metric: str
    margin: float
    points: tuple[CoursePoint, ...]


class CourseView(msgspec.Struct, frozen=True, kw_only=True):
    """The course of a rollout, by gate. `whole` false: there are more scores than a course is made of, and it ends
    before the present."""

    id: str
    object: Literal["rollout_course"] = "rollout_course"
    gates: tuple[GateCourse, ...]
    whole: bool


class PairView(msgspec.Struct, frozen=True, kw_only=True):
    """One request that champion and candidate both answered. `request_id` is the client's, and `copy_id` that of the
    copy which the candidate answered; scores are from 0 to 1, notes what the scorer said of each."""

    request_id: str
    object: Literal["rollout_pair"] = "rollout_pair"
    copy_id: str
    metric: str
    at: float
    champion: float
    candidate: float
    champion_note: str
    candidate_note: str


def course(sources: Sources, turn: Turn, _: None, __: Ask) -> CourseView:
    """Reads the scores of the rollout, which takes up to three seconds where there are many. Raises
    ``PenstockError(NOT_FOUND)``."""
    rollout = found(sources.directory(), turn)
    plan = rollout.plan
    if sources.scores is None or sources.proof is None:
        return CourseView(id=rollout.id, gates=(), whole=False)
    scores = list(_scores(sources.scores, rollout.id))
    read, whole = scores[:READ], len(scores) <= READ
    evidence = sources.proof(plan)
    points: dict[str, list[CoursePoint]] = {gate.metric: [] for gate in plan.gates}
    begin = 0
    for end in _looked_at(read, rollout):
        evidence.take(read[begin:end])
        _look(evidence, rollout, read[end - 1].arrived_at, points)
        begin = end
    gates = tuple(
        GateCourse(metric=each.metric, margin=each.margin, points=tuple(points[each.metric])) for each in plan.gates
    )
    return CourseView(id=rollout.id, gates=gates, whole=whole)


def _looked_at(scores: Sequence[Score], rollout: Rollout) -> Sequence[int]:
    """After how many scores there is a point: evenly over those of the candidate. Beyond the most units that count
    scores only amend what there is, so half of the points lie before."""
    plan = rollout.plan
    first = plan.gates[0].metric if plan.gates else ""
    ends = [place for place, each in enumerate(scores, 1) if each.release == plan.candidate and each.metric == first]
    counted = min(len(ends), plan.max_samples)
    before = POINTS if counted == len(ends) else POINTS // 2
    chosen = {ends[counted * each // before - 1] for each in range(1, before + 1) if counted * each // before}
    rest = ends[counted:]
    chosen |= {rest[len(rest) * each // before - 1] for each in range(1, before + 1) if len(rest) * each // before}
    return sorted(chosen | ({len(scores)} if ends else set()))


def _look(evidence: Proof, rollout: Rollout, at: float, points: dict[str, list[CoursePoint]]) -> None:
    for each in evidence.verdict(at, rollout.started_at).standings:
        known = points[each.metric]
        if not (each.candidate_units and each.champion_units):
            continue
        if known and known[-1].units == each.candidate_units:
            # Units that came again: the newest is what is known of so many.
            known.pop()
        known.append(
            CoursePoint(units=each.candidate_units, at=at, difference=each.difference, low=each.low, high=each.high)
        )


def _scores(store: Scores, rollout: str) -> Iterator[Score]:
    after, count = 0, 0
    while count <= READ:
        page = store.scores(rollout, after, _AT_ONCE)
        for number, score in page:
            after = number
            yield score
        count += len(page)
        if len(page) < _AT_ONCE:
            return


def pairs(sources: Sources, turn: Turn, _: None, __: Ask) -> Page:
    """The worst first. Raises ``PenstockError``: NOT_FOUND, INVALID_VALUE for a metric that has no gate."""
    rollout = found(sources.directory(), turn)
    metrics = [gate.metric for gate in rollout.plan.gates]
    metric = turn.query.get("metric") or (metrics[0] if metrics else "")
    if metric not in metrics:
        raise invalid("metric", f"This rollout has no gate on '{metric[:80]}'. {near(metric, metrics)}")
    most = min(limit_of(turn.query), PAIRS)
    worst = () if sources.scores is None else sources.scores.worst_pairs(rollout.id, metric, most)
    return Page(
        data=[
            PairView(
                request_id=got.request_id,
                copy_id=f"{copy.request_id}:copy",
                metric=metric,
                at=got.at,
                champion=got.value,
                candidate=copy.value,
                champion_note=got.note,
                candidate_note=copy.note,
            )
            for got, copy in worst
        ]
    )
