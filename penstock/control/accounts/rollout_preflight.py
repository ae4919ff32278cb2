"""What to expect of a rollout before it starts, by what its service did lately."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import msgspec

from penstock.control.accounts.operation import Scores, Sources
from penstock.control.accounts.rollout_request import StartRollout
from penstock.control.accounts.rollout_shown import GateView, StepView, gates_shown, steps_shown
from penstock.control.accounts.rollouts import prepared
from penstock.control.accounts.traffic import SPAN_S, Recent
from penstock.control.accounts.turn import Turn
from penstock.core.administration import Ask
from penstock.core.releases import Measure, Plan, Preset
from penstock.quality.config import JudgeSettings, settings_of
from penstock.quality.preflight import Expected, Known, Traffic, preflight

_HOUR_S = 3600.0
_SCORED_S = 30 * 86400.0
_BY_ITS_BOUND = 0.95


class PreflightView(msgspec.Struct, frozen=True, kw_only=True):
    """The rollout as it would be, and what to expect of it: `drop_s` seconds until a drop of 5 points would be seen,
    `equal_s` until a candidate that is as good would be known to be, null: not in time. `judge_dollars` is what
    judging would cost until then. `sentence` says it all."""

    object: Literal["preflight"] = "preflight"
    preset: Preset
    candidate: str
    champion: str
    steps: tuple[StepView, ...]
    gates: tuple[GateView, ...]
    requests_per_hour: float
    units_per_hour: float
    expected: tuple[Expected, ...]
    drop_s: float | None
    equal_s: float | None
    judge_dollars: float
    decidable: bool
    sentence: str


def ahead(sources: Sources, turn: Turn, asked: StartRollout, _: Ask) -> PreflightView:
    """Raises ``PenstockError``: all that a start would."""
    plan = prepared(sources.directory(), turn, asked).plan
    recent = turn.recent(asked.service)
    per_hour = recent.per_s * _HOUR_S
    # Users come back, and each counts once in a window.
    users = recent.users * max(1.0, SPAN_S / plan.window_s) if plan.sticky == "user" else recent.requests
    each_counts = min(1.0, users / recent.requests) if recent.requests else 1.0
    traffic = Traffic(
        units_per_hour=per_hour * each_counts,
        requests_per_hour=per_hour,
        champion=_known(sources.scores, plan, recent, asked.service, turn.now),
        judge_dollars=_judge_dollars(turn, plan),
    )
    found = preflight(plan, traffic)
    return PreflightView(
        preset=plan.preset,
        candidate=plan.candidate,
        champion=plan.champion,
        steps=steps_shown(plan),
        gates=gates_shown(plan),
        requests_per_hour=traffic.requests_per_hour,
        units_per_hour=traffic.units_per_hour,
        expected=found.expected,
        drop_s=found.drop_s,
        equal_s=found.equal_s,
        judge_dollars=found.judge_dollars,
        decidable=found.decidable,
        sentence=found.sentence,
    )


def _known(scores: Scores | None, plan: Plan, recent: Recent, service: str, now: float) -> Mapping[str, Known]:
    """By the champion's scores of the last month, else by what the ledger has."""
    kept = () if scores is None else scores.summary(service, plan.champion, now - _SCORED_S)
    means = {(each.metric, each.version): each.mean for each in kept if not each.copied and each.count}
    found: dict[str, Known] = {}
    for measure in plan.measures:
        mean = means.get((measure.metric, measure.version), _usual(measure, recent))
        if mean is not None:
            # No score in [0, 1] of this mean varies more.
            found[measure.metric] = Known(mean=mean, variance=mean * (1 - mean))
    return found


def _usual(measure: Measure, recent: Recent) -> float | None:
    if not recent.requests:
        return None
    if measure.scorer == "success":
        return recent.answered
    return _BY_ITS_BOUND if measure.bound in (recent.p95_s, recent.p5_tokens_per_s) and measure.bound else None


def _judge_dollars(turn: Turn, plan: Plan) -> float:
    """Of the dearest judge."""
    judges = (settings_of("judge", each.settings) for each in plan.measures if each.scorer == "judge")
    costs = (turn.recent(each.service).mean_dollars for each in judges if isinstance(each, JudgeSettings))
    return max((each for each in costs if each is not None), default=0.0)
