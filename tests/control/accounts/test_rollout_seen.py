"""How the difference of a gate came to be known, and the answers that fell most behind."""

from __future__ import annotations

import random

import msgspec
import pytest

from penstock.control.accounts.operation import Sources
from penstock.control.accounts.rollout_seen import POINTS, CourseView, PairView, course, pairs
from penstock.control.accounts.turn import Turn
from penstock.core.administration import Ask
from penstock.core.errors import PenstockError
from penstock.core.releases import Score
from penstock.quality.gates import Evidence
from penstock.store.forgetful_scores import ForgetfulScores
from tests.control.accounts.office import NOW, ROOT
from tests.control.accounts.shelf import turn
from tests.control.accounts.test_rollouts import FILE, KNOWN, applied, made, start

replace = msgspec.structs.replace
OUTCOME = start(gates=[{"metric": "success"}])
ROLLOUT = made(OUTCOME)[0]
THERE = applied(KNOWN, OUTCOME)
ASK = Ask(actor=ROOT, operation="")


def score(number: int, *, candidate: bool, value: float, copied: bool = False) -> Score:
    plan = ROLLOUT.plan
    return Score(
        request_id=f"req-{number}",
        at=NOW + number,
        arrived_at=NOW + number,
        service="chat",
        release=plan.candidate if candidate else plan.champion,
        rollout=ROLLOUT.id,
        metric="success",
        version=plan.measures[0].version,
        value=value,
        unit=f"unit-{number}",
        copied=copied,
        note=f"note {number}",
    )


def sources(*scores: Score) -> Sources:
    kept = ForgetfulScores(lambda rollout: (), lambda request: ())
    kept.append_scores(scores)
    return Sources(lambda: THERE, None, None, kept, proof=Evidence)  # type: ignore[arg-type]


def asked(**query: str) -> Turn:
    return replace(turn(served=FILE), target=ROLLOUT.id, query=query)


def test_a_course_narrows_and_ends_with_what_the_gates_know() -> None:
    draw = random.Random(7)
    scores = [score(each, candidate=bool(each % 2), value=float(draw.random() < 0.9)) for each in range(400)]
    view = course(sources(*scores), asked(), None, ASK)
    view = msgspec.json.decode(msgspec.json.encode(view), type=CourseView)
    (gate,) = view.gates
    assert view.whole
    assert 10 < len(gate.points) <= POINTS + 1
    assert [each.units for each in gate.points] == sorted({each.units for each in gate.points})
    assert all(each.low <= each.difference <= each.high for each in gate.points)
    assert gate.points[-1].high - gate.points[-1].low < gate.points[0].high - gate.points[0].low
    evidence = Evidence(ROLLOUT.plan)
    evidence.take(scores)
    (standing,) = evidence.verdict(NOW, NOW).standings
    last = gate.points[-1]
    assert (last.units, last.difference, last.low, last.high) == (
        standing.candidate_units,
        standing.difference,
        standing.low,
        standing.high,
    )


def test_the_way_to_the_most_units_that_count_is_seen_however_much_comes_after() -> None:
    few = replace(ROLLOUT, plan=replace(ROLLOUT.plan, max_samples=60))
    there = replace(THERE, rollouts=(few,))
    scores = [score(each, candidate=bool(each % 2), value=float(each % 5 > 0)) for each in range(2000)]
    known = replace(sources(*scores), directory=lambda: there)
    (gate,) = course(known, asked(), None, ASK).gates
    assert len(gate.points) >= POINTS // 2
    assert gate.points[-1].units == 60


def test_without_scores_there_is_a_gate_and_no_point() -> None:
    view = course(sources(), asked(), None, ASK)
    assert [(each.metric, each.points) for each in view.gates] == [("success", ())]


def test_pairs_come_worst_first_with_the_id_of_the_copy() -> None:
    halves = [
        half
        for number, got, copy in ((1, 1.0, 0.5), (2, 1.0, 0.0), (3, 0.5, 0.9))
        for half in (
            score(number, candidate=False, value=got),
            score(number, candidate=True, value=copy, copied=True),
        )
    ]
    page = pairs(sources(*halves), asked(), None, ASK)
    found = msgspec.convert(msgspec.to_builtins(page.data), list[PairView])
    assert [(each.request_id, each.copy_id, each.champion, each.candidate) for each in found] == [
        ("req-2", "req-2:copy", 1.0, 0.0),
        ("req-1", "req-1:copy", 1.0, 0.5),
    ]
    assert len(pairs(sources(*halves), asked(limit="1"), None, ASK).data) == 1


def test_a_metric_without_a_gate_and_a_rollout_that_there_is_not_are_refused() -> None:
    with pytest.raises(PenstockError, match=r"no gate on 'sucess'. Did you mean 'success'"):
        pairs(sources(), asked(metric="sucess"), None, ASK)
    for reads in (course, pairs):
        with pytest.raises(PenstockError, match="no rollout 'roll_0'"):
            reads(sources(), replace(asked(), target="roll_0"), None, ASK)
