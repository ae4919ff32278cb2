"""Before a rollout starts: how long it will take to know, and what judging will cost.

Estimates, from the rate at which evidence grows when the truth is what is asked about: a payoff of mean m and
variance v brings m * m / 2v a pair at best. About half of the rollouts know sooner.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Final

import msgspec

from penstock.core.releases import WHOLE, Gate, Plan, Step
from penstock.quality.config import JudgeSettings, settings_of
from penstock.quality.pairing import MOST
from penstock.quality.verdict import PAIRED
from penstock.quality.wording import spoken

DROP: Final = 0.05
"""The drop that is asked about: 5 points."""

_UNKNOWN_VARIANCE: Final = 0.25


class Known(msgspec.Struct, frozen=True, kw_only=True):
    """What the champion's scores in one metric have been: their mean and variance, in [0, 1]."""

    mean: float
    variance: float


class Traffic(msgspec.Struct, frozen=True, kw_only=True):
    """What the service gets, of what the rollout is about. ``units_per_hour`` counts a unit once in the plan's
    window, ``requests_per_hour`` all. ``design`` is how many samples tell as much as one of a unit of its own: 1
    where few units come back in another window. ``judge_dollars`` is what one call of the judge costs."""

    units_per_hour: float
    requests_per_hour: float
    champion: Mapping[str, Known] = {}
    design: float = 1.0
    judge_dollars: float = 0.0


class Expected(msgspec.Struct, frozen=True, kw_only=True):
    """Of one gate: units of the candidate, and seconds, until a drop of 5 points would be seen, and until a candidate
    that is the champion's equal would be known to be no worse than the margin. None: not before the plan's deadline
    and within its samples. ``assumed``: the champion's scores are not known, and the worst variance is taken."""

    metric: str
    margin: float
    drop_units: int
    drop_s: float | None
    equal_units: int
    equal_s: float | None
    assumed: bool


class Preflight(msgspec.Struct, frozen=True, kw_only=True):
    """What to expect of a plan; ``drop_s`` and ``equal_s`` are of the slowest gate. ``judge_dollars`` is until all is
    known, else until the deadline. ``decidable``: an equal candidate would be promoted in time. ``sentence`` says it
    to people, and offers pairs of a golden set where it is not."""

    expected: tuple[Expected, ...]
    drop_s: float | None
    equal_s: float | None
    judge_dollars: float
    decidable: bool
    sentence: str


def preflight(plan: Plan, traffic: Traffic) -> Preflight:
    """What to expect of ``plan`` at this traffic. Raises ``PenstockError`` where the settings of a judge cannot be
    read."""
    expected = tuple(_expected(plan, traffic, gate) for gate in plan.gates)
    drop_s, equal_s = _slowest([each.drop_s for each in expected]), _slowest([each.equal_s for each in expected])
    lasts_s = plan.deadline_s if equal_s is None else equal_s
    judged = sum(
        _judged_share(plan, settings.share)
        for each in plan.measures
        if each.scorer == "judge" and isinstance(settings := settings_of("judge", each.settings), JudgeSettings)
    )
    dollars = judged * traffic.requests_per_hour * lasts_s / 3600 * traffic.judge_dollars
    return Preflight(
        expected=expected,
        drop_s=drop_s,
        equal_s=equal_s,
        judge_dollars=dollars,
        decidable=equal_s is not None,
        sentence=_sentence(plan, traffic, expected, dollars),
    )


def _judged_share(plan: Plan, share: float) -> float:
    """Of all requests, how many calls of the judge; a pair is two."""
    return share * (2 * plan.mirror_share / WHOLE if plan.preset in PAIRED else 1.0)


def _slowest(times: list[float | None]) -> float | None:
    known = [each for each in times if each is not None]
    return max(known) if known and len(known) == len(times) else None


def _expected(plan: Plan, traffic: Traffic, gate: Gate) -> Expected:
    known = traffic.champion.get(gate.metric)
    variance = (_UNKNOWN_VARIANCE if known is None else known.variance) * traffic.design
    drop, equal = math.log(len(plan.gates) / plan.alpha), math.log(1 / plan.alpha)
    drop_units, drop_s = _reached(plan, traffic, drop, DROP, variance)
    equal_units, equal_s = _reached(plan, traffic, equal, gate.margin, variance)
    return Expected(
        metric=gate.metric,
        margin=gate.margin,
        drop_units=drop_units,
        drop_s=drop_s,
        equal_units=equal_units,
        equal_s=equal_s,
        assumed=known is None,
    )


def _reached(plan: Plan, traffic: Traffic, enough: float, gap: float, variance: float) -> tuple[int, float | None]:
    """Units of the candidate, and seconds, until the logarithm of the evidence is ``enough``."""
    steps = plan.steps or (Step(share=WHOLE // 2),)
    if plan.preset in PAIRED:
        steps = (Step(share=plan.mirror_share),)
    passed_s = units = part = 0.0
    for place, step in enumerate(steps):
        share = step.share / WHOLE
        needed = max(
            float(plan.min_samples), enough * 2 * (_spread(plan, share) * variance + gap * gap) / (gap * gap)
        )
        rate = traffic.units_per_hour * share / 3600
        last = place == len(steps) - 1
        lasts_s = max(step.hold_s, step.samples / rate if rate else math.inf)
        left_s = (1 - part) * needed / rate if rate else math.inf
        if last or left_s <= lasts_s:
            units += (1 - part) * needed
            passed_s += left_s
            break
        passed_s += lasts_s
        units += lasts_s * rate
        part += lasts_s * rate / needed
    count = math.ceil(units)
    return count, passed_s if passed_s <= plan.deadline_s and count <= plan.max_samples else None


def _spread(plan: Plan, share: float) -> float:
    """The variance of a difference, by that of one score."""
    if plan.preset in PAIRED or not 0 < share < 1:
        # What makes a request hard is the same for both, which takes about half of the variance away.
        return 1.0
    return 1 + 1 / min(MOST, (1 - share) / share)


def _sentence(plan: Plan, traffic: Traffic, expected: tuple[Expected, ...], dollars: float) -> str:
    if not expected:
        return "There are no gates: each step is taken when its time is over."
    cost = f" Judging will cost about ${dollars:,.2f}." if dollars else ""
    hourly = traffic.units_per_hour
    rate = f"At {hourly:,.0f} units an hour" if hourly >= 10 else f"At {hourly:.2g} units an hour"
    if not hourly:
        rate = "Without any traffic in the last day"
    slow = [each for each in expected if each.equal_s is None]
    if slow:
        worst = max(slow, key=lambda each: each.equal_units)
        return (
            f"{rate}, {worst.metric} cannot be decided within {spoken(plan.deadline_s)} and {plan.max_samples:,} "
            f"units of the candidate: it would take about {worst.equal_units:,}. Pairs of a golden set can decide it "
            f"(`penstock rollout check`).{cost}"
        )
    drop = max(expected, key=lambda each: math.inf if each.drop_s is None else each.drop_s)
    equal = max(expected, key=lambda each: each.equal_s or 0.0)
    seen = (
        f"a drop of 5 points would be seen after about {spoken(drop.drop_s)} ({drop.metric})"
        if drop.drop_s is not None
        else f"a drop of 5 points would not be seen in time ({drop.metric})"
    )
    return (
        f"{rate}, {seen}, and a candidate that is as good is known to be after about {spoken(equal.equal_s or 0.0)} "
        f"({equal.metric}).{cost}"
    )
