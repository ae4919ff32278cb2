"""Scores of real shapes on the scale: the gates' evidence, and what they wait for."""

from __future__ import annotations

import random
from typing import Any

import msgspec
import pytest

from penstock.control.rollouts.known import Known
from penstock.control.rollouts.moves import decide
from penstock.control.rollouts.presets import planned
from penstock.control.rollouts.weighing import SILENT_REQUESTS, Scale
from penstock.core.releases import Decision, Deed, Gate, Plan, Rollout, Score, Step
from penstock.quality.config import JudgeSettings, measure
from tests.control.rollouts.parts import NEW, NOW, OLD, READY, plan, rollout, split_of, told

SUCCESS = measure("success", "success")
JUDGE = measure("judge", "judge", JudgeSettings(service="judge", rubric="Kind?"))


def of(*gates: str, **more: object) -> Rollout:
    made: Plan = plan(
        measures=(SUCCESS, JUDGE) if "judge" in gates else (SUCCESS,),
        gates=tuple(Gate(metric=each) for each in gates),
        steps=(Step(share=100_000),),
        **more,
    )
    return rollout(plan_=made)


def decided(number: int, what: Deed, at: float = NOW) -> Decision:
    return Decision(rollout="roll-1", number=number, at=at, actor="", what=what, reason="")


def weighed(
    here: Rollout,
    *,
    candidate: float,
    champion: float,
    units: int,
    metrics: tuple[str, ...] = ("success",),
    seed: int = 1,
) -> Scale:
    """One of ten units gets the candidate; a second passes between two."""
    chance, scale, number = random.Random(seed), Scale(here), 0
    scale.decided(decided(1, "start"))
    scale.decided(decided(2, "load"))
    for unit in range(units):
        new = chance.random() < 0.1
        value = float(chance.random() < (candidate if new else champion))
        for measured in here.plan.measures:
            if measured.metric in metrics:
                number += 1
                at = NOW + 11 + unit
                scale.add(
                    number,
                    Score(
                        request_id=f"req-{unit}",
                        at=at,
                        arrived_at=at + 1,
                        service="chat",
                        release=NEW if new else OLD,
                        rollout="roll-1",
                        metric=measured.metric,
                        version=measured.version,
                        value=value,
                        unit=f"unit-{unit}",
                    ),
                )
    return scale


@pytest.mark.parametrize(
    ("candidate", "champion", "expected"),
    [(0.99, 0.99, ("promote", "promoted")), (0.5, 0.95, ("rollback", "rolled_back"))],
)
def test_good_is_promoted_and_bad_rolled_back(candidate: float, champion: float, expected: tuple[str, str]) -> None:
    here = of("success")
    scale = weighed(here, candidate=candidate, champion=champion, units=6000)
    verdict = scale.verdict(here, NOW + 6100)
    assert (verdict.scored_to, verdict.heard_to) == (6000, NOW + 6011)
    assert told(decide(here, split_of(here), verdict, READY, NOW + 6100)) == expected
    known = msgspec.json.decode(verdict.evidence, type=Known)
    assert [each.metric for each in known.standings] == ["success"]


def test_before_any_score_it_holds_and_says_so() -> None:
    here = of("success")
    verdict = Scale(here).verdict(here, NOW)
    assert (verdict.says, verdict.samples, verdict.heard_to, verdict.trouble) == ("hold", 0, 0.0, "")
    assert msgspec.json.decode(verdict.evidence, type=Known).standings[0].candidate_units == 0


def test_time_is_up_but_for_a_pause() -> None:
    here = of("success", deadline_s=100.0)
    scale = weighed(here, candidate=1, champion=1, units=20)
    assert scale.verdict(here, NOW + 101).says == "over"
    paused = msgspec.structs.replace(here, paused_s=50.0)
    assert scale.verdict(paused, NOW + 101).says == "hold"


def test_without_gates_only_time_counts() -> None:
    here = of()
    assert Scale(here).verdict(here, NOW).says == "promote"
    assert Scale(here).verdict(here, NOW + 8 * 86400).says == "over"


def test_a_judge_that_says_nothing_any_more_is_waited_for() -> None:
    here = of("success", "judge")
    scale = weighed(here, candidate=1, champion=1, units=SILENT_REQUESTS + 30, metrics=("success",))
    verdict = scale.verdict(here, NOW + 200)
    assert verdict.says == "hold"
    assert "judge" in verdict.trouble
    speaking = weighed(here, candidate=1, champion=1, units=SILENT_REQUESTS + 30, metrics=("success", "judge"))
    assert speaking.verdict(here, NOW + 200).trouble == ""


def test_units_that_were_not_split_as_they_should_be_stop_it() -> None:
    here = of("success")
    stepped = msgspec.structs.replace(here, plan=plan(steps=(Step(share=500_000),), gates=here.plan.gates))
    shifted = msgspec.structs.replace(stepped, plan=msgspec.structs.replace(stepped.plan, measures=(SUCCESS,)))
    verdict = weighed(shifted, candidate=1, champion=1, units=2000).verdict(shifted, NOW + 2100)
    assert verdict.says == "stop"
    assert "50.0%" in verdict.reason


@pytest.mark.parametrize("preset", ["champion_challenger", "blue_green"])
def test_copies_are_compared_pair_by_pair(preset: Any) -> None:
    made = planned(preset, candidate=NEW, champion=OLD, gates=(Gate(metric="success"),), measures=(SUCCESS,))
    here = rollout(plan_=made)
    assert (made.steps, made.mirror_share) == ((Step(share=0),), 100_000)
    scale = Scale(here)
    for number in range(200):
        for release in (OLD, NEW):
            score = Score(
                request_id=f"req-{number}",
                at=NOW + number,
                arrived_at=NOW + number,
                service="chat",
                release=release,
                rollout="roll-1",
                metric="success",
                version=SUCCESS.version,
                value=1.0,
                unit=f"unit-{number}",
                copied=release == NEW,
            )
            scale.add(2 * number + (release == NEW) + 1, score)
    move = decide(here, split_of(here), scale.verdict(here, NOW + 200), READY, NOW + 200)
    assert told(move) == ("promote", "promoted")
