"""Rollouts and splits as answers show them: shares in percent, times in seconds since the epoch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import msgspec

from penstock.control.rollouts.known import Known
from penstock.control.rollouts.shares import served
from penstock.core.money import NANO
from penstock.core.releases import (
    WHOLE,
    Decision,
    Deed,
    Plan,
    Preset,
    Range,
    Rollout,
    RolloutState,
    Scorer,
    Segment,
    Split,
)
from penstock.quality.verdict import Standing
from penstock.routing.assignment import shares

_known = msgspec.json.Decoder(Known)


class SegmentView(msgspec.Struct, frozen=True, kw_only=True):
    """Whom something is about: each kind that is named must match, by any of its values."""

    headers: dict[str, tuple[str, ...]]
    keys: tuple[str, ...]
    projects: tuple[str, ...]


class GateView(msgspec.Struct, frozen=True, kw_only=True):
    """The candidate may be worse in the mean of `metric` by less than `margin`. `version` is that of the scorer and
    its settings, frozen for the rollout."""

    metric: str
    margin: float
    scorer: Scorer
    bound: float | None
    settings: msgspec.Raw
    version: str


class StepView(msgspec.Struct, frozen=True, kw_only=True):
    """`share` percent until `hold_s` seconds have passed and the candidate has `samples`."""

    share: float
    hold_s: float
    samples: int


class DecisionView(msgspec.Struct, frozen=True, kw_only=True):
    """What was decided, by whom (`actor` empty: the gateway itself), and what was known then."""

    number: int
    at: float
    actor: str
    what: Deed
    reason: str
    evidence: msgspec.Raw


class RolloutView(msgspec.Struct, frozen=True, kw_only=True):
    """A rollout. `share`: percent of those it is about who get the candidate now. `step` counts from 1, 0: none yet.
    `standings`: how each gate stands; `decisions` in order; both only where one rollout is asked for."""

    id: str
    object: Literal["rollout"] = "rollout"
    service: str
    preset: Preset
    candidate: str
    champion: str
    state: RolloutState
    reason: str
    share: float
    step: int
    steps: tuple[StepView, ...]
    gates: tuple[GateView, ...]
    alpha: float
    min_samples: int
    max_samples: int
    window_s: float
    deadline_s: float
    on_deadline: Literal["rollback", "ask"]
    promote: Literal["automatic", "ask"]
    sticky: Literal["user", "conversation", "request"]
    segment: SegmentView | None
    keep_warm_s: float | None
    mirror_share: float
    mirror_budget: str | None
    since: float
    started_at: float
    ended_at: float | None
    paused_s: float
    author: str
    loaded: Mapping[str, bool]
    standings: tuple[Standing, ...] = ()
    decisions: tuple[DecisionView, ...] = ()


class WarmView(msgspec.Struct, frozen=True, kw_only=True):
    """`release` stays loaded `until` then; null: for good."""

    release: str
    until: float | None


class SplitView(msgspec.Struct, frozen=True, kw_only=True):
    """Who gets which release of a service: `shares` in percent by release; `segment_shares` are those of the
    `segment`. `rollout`: the one that moves it, empty: none. `origin`: the release that the deployment file made of
    the service when the store took it over; `changed_at` null: it has not, and the file says it all."""

    id: str
    object: Literal["split"] = "split"
    shares: dict[str, float]
    sticky: Literal["user", "conversation", "request"]
    segment: SegmentView | None
    segment_shares: dict[str, float]
    mirror: str
    warm: tuple[WarmView, ...]
    rollout: str
    origin: str
    changed_at: float | None


def shown(
    rollout: Rollout,
    split: Split | None,
    standing: Mapping[str, frozenset[str]],
    decisions: Sequence[Decision] = (),
    evidence: bytes | None = None,
) -> RolloutView:
    """``evidence`` as a ``Verdict`` has it, None: that of the last decision."""
    plan = rollout.plan
    newest = evidence if evidence is not None else decisions[-1].evidence if decisions else b"{}"
    return RolloutView(
        id=rollout.id,
        service=rollout.service,
        preset=plan.preset,
        candidate=plan.candidate,
        champion=plan.champion,
        state=rollout.state,
        reason=rollout.reason,
        share=_share(rollout, split),
        step=0 if rollout.state == "loading" or not plan.steps else rollout.step + 1,
        steps=steps_shown(plan),
        gates=gates_shown(plan),
        alpha=plan.alpha,
        min_samples=plan.min_samples,
        max_samples=plan.max_samples,
        window_s=plan.window_s,
        deadline_s=plan.deadline_s,
        on_deadline=plan.on_deadline,
        promote=plan.promote,
        sticky=plan.sticky,
        segment=_segment(plan.segment),
        keep_warm_s=plan.keep_warm_s,
        mirror_share=_percent(plan.mirror_share),
        mirror_budget=None if plan.mirror_budget_nano is None else f"{plan.mirror_budget_nano / NANO:.2f}",
        since=rollout.since,
        started_at=rollout.started_at,
        ended_at=rollout.ended_at,
        paused_s=rollout.paused_s,
        author=rollout.author,
        loaded={gateway: plan.candidate in ready for gateway, ready in sorted(standing.items())},
        standings=_standings(newest),
        decisions=tuple(_decision(each) for each in decisions),
    )


def split_shown(split: Split) -> SplitView:
    return SplitView(
        id=split.service,
        shares=_shares(split.ranges),
        sticky=split.sticky,
        segment=_segment(split.segment),
        segment_shares=_shares(split.inside),
        mirror="" if split.mirror is None else split.mirror.release,
        warm=tuple(WarmView(release=each.release, until=each.until) for each in split.warm),
        rollout=split.rollout,
        origin=split.origin,
        changed_at=split.changed_at or None,
    )


def _share(rollout: Rollout, split: Split | None) -> float:
    candidate = rollout.plan.candidate
    if split is None or candidate not in served(split):
        return 0.0
    return _shares(split.inside if rollout.plan.segment and split.inside else split.ranges).get(candidate, 0.0)


def _shares(ranges: Sequence[Range]) -> dict[str, float]:
    return {release: _percent(part) for release, part in shares(ranges).items()}


def _percent(part: int) -> float:
    return part * 100 / WHOLE


def steps_shown(plan: Plan) -> tuple[StepView, ...]:
    return tuple(StepView(share=_percent(s.share), hold_s=s.hold_s, samples=s.samples) for s in plan.steps)


def gates_shown(plan: Plan) -> tuple[GateView, ...]:
    measures = {each.metric: each for each in plan.measures}
    return tuple(
        GateView(
            metric=gate.metric,
            margin=gate.margin,
            scorer=measures[gate.metric].scorer,
            bound=measures[gate.metric].bound,
            settings=msgspec.Raw(measures[gate.metric].settings),
            version=measures[gate.metric].version,
        )
        for gate in plan.gates
    )


def _segment(segment: Segment | None) -> SegmentView | None:
    if segment is None:
        return None
    headers: dict[str, tuple[str, ...]] = {}
    for name, value in segment.headers:
        headers[name] = (*headers.get(name, ()), value)
    return SegmentView(headers=headers, keys=segment.keys, projects=segment.projects)


def _decision(decision: Decision) -> DecisionView:
    return DecisionView(
        number=decision.number,
        at=decision.at,
        actor=decision.actor,
        what=decision.what,
        reason=decision.reason,
        evidence=msgspec.Raw(decision.evidence),
    )


def _standings(evidence: bytes) -> tuple[Standing, ...]:
    if evidence == b"{}":
        return ()
    return _known.decode(evidence).standings
