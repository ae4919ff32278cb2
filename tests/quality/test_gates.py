"""What the scores of a rollout say, rule by rule."""

from __future__ import annotations

from itertools import pairwise
from random import Random

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as some

from penstock.core.releases import Plan, Score
from penstock.quality.config import FeedbackSettings, measure
from penstock.quality.gates import Evidence
from penstock.quality.verdict import Verdict
from tests.quality.plans import plan, score, traffic


def _told(of: Plan, scores: list[Score], now: float = 1e5, silent: tuple[str, ...] = ()) -> Verdict:
    evidence = Evidence(of)
    evidence.take(scores)
    return evidence.verdict(now, 0.0, silent=silent)


def test_a_candidate_that_is_worse_is_rolled_back_and_the_reason_has_the_figures() -> None:
    verdict = _told(plan("success"), traffic(1, 10_000, share=0.1, champion=0.9, candidate=0.6))

    assert (verdict.kind, verdict.because) == ("rollback", "gates")
    (standing,) = verdict.standings
    assert standing.e_worse >= standing.needed_worse == 20
    assert standing.high < 0
    assert standing.low <= standing.difference <= standing.high
    assert standing.difference == pytest.approx(-0.3, abs=0.1)
    assert verdict.reason.startswith("success is worse: 0.")


def test_a_candidate_that_is_as_good_is_promoted() -> None:
    verdict = _told(plan("success"), traffic(1, 20_000, share=0.1, champion=0.9, candidate=0.9))

    assert (verdict.kind, verdict.because) == ("promote", "gates")
    (standing,) = verdict.standings
    assert standing.e_better >= standing.needed_better == 20
    assert -standing.margin < standing.low < 0 < standing.high


def test_every_gate_must_say_so_and_one_is_enough_to_go_back() -> None:
    good = traffic(1, 20_000, share=0.1, champion=0.9, candidate=0.9, metrics=("success",))
    few = traffic(2, 100, share=0.1, champion=0.9, candidate=0.5, metrics=("latency",))
    bad = traffic(2, 20_000, share=0.1, champion=0.9, candidate=0.5, metrics=("latency",))

    both = plan("success", "latency")
    assert _told(both, good + few).kind == "hold"
    verdict = _told(both, good + bad)
    assert verdict.kind == "rollback"
    assert verdict.standings[0].e_better >= 20
    assert verdict.standings[0].needed_worse == 40


def test_when_a_metric_says_both_rollback_wins() -> None:
    # Worse for sure, and for sure by less than the margin.
    scores = [score(at, candidate=at % 2 == 0, value=0.5 if at % 2 else 0.48) for at in range(4000)]

    verdict = _told(plan("success"), scores)

    (standing,) = verdict.standings
    assert standing.e_better >= 20
    assert standing.e_worse >= 20
    assert verdict.kind == "rollback"


def test_nothing_is_decided_below_the_least_number_of_units() -> None:
    scores = [score(at, candidate=at % 2 == 0, value=float(at % 2)) for at in range(100)]

    few = _told(plan("success"), scores[:98])
    assert (few.kind, few.because) == ("hold", "open")
    assert few.reason == "success has 49 of the 50 units that it needs."
    assert _told(plan("success"), scores).kind == "rollback"


@pytest.mark.parametrize("then", ["rollback", "ask"])
def test_what_is_not_settled_ends_at_the_most_units_and_at_the_deadline(then: str) -> None:
    scores = traffic(5, 600, share=0.5, champion=0.5, candidate=0.46)

    full = _told(plan("success", max_samples=100, on_deadline=then), scores)
    assert (full.kind, full.because) == (then, "samples")
    assert full.standings[0].candidate_units == 100

    evidence = Evidence(plan("success", deadline_s=7200.0, on_deadline=then))
    evidence.take(scores)
    assert evidence.verdict(7300.0, 0.0, paused_s=101.0).kind == "hold"
    late = evidence.verdict(7300.0, 0.0, paused_s=100.0)
    assert (late.kind, late.because, late.reason) == (then, "deadline", "2 hours did not settle success.")


def test_while_a_judge_is_silent_nothing_is_promoted_but_what_is_worse_goes_back() -> None:
    good = traffic(1, 20_000, share=0.1, champion=0.9, candidate=0.9)
    bad = traffic(1, 10_000, share=0.1, champion=0.9, candidate=0.6)

    verdict = _told(plan("success"), good, silent=("judge",))
    assert (verdict.kind, verdict.because) == ("hold", "silent")
    assert "judge" in verdict.reason
    assert _told(plan("success"), bad, silent=("judge",)).kind == "rollback"


def test_scores_of_other_releases_versions_and_copies_do_not_count() -> None:
    scores = [score(at, candidate=at % 2 == 0, value=1.0) for at in range(100)]
    others = [
        *(msgspec.structs.replace(each, release="rel_c") for each in scores),
        *(msgspec.structs.replace(each, version="success-0-old") for each in scores),
        *(msgspec.structs.replace(each, copied=True) for each in scores),
        *(msgspec.structs.replace(each, metric="nobody-asked") for each in scores),
    ]

    (standing,) = _told(plan("success"), others).standings

    assert (standing.candidate_units, standing.champion_units) == (0, 0)
    assert (standing.low, standing.high, standing.e_worse, standing.e_better) == (-1, 1, 0, 0)


def test_copies_are_compared_with_the_same_request_in_either_order() -> None:
    random = Random(3)
    scores = []
    for at in range(400):
        easy = random.random()  # What both find hard tells nothing of either.
        both = [
            score(at, candidate=False, value=easy),
            score(at, candidate=True, value=max(0.0, easy - 0.02), copied=True),
        ]
        scores += both if at % 2 else both[::-1]
    scores += [score(at, candidate=False, value=0.0) for at in range(1000, 2000)]

    for preset in ("shadow", "champion_challenger"):
        verdict = _told(plan("success", preset=preset), scores)
        (standing,) = verdict.standings
        assert standing.candidate_units == standing.champion_units == 400
        assert standing.difference == pytest.approx(-0.02, abs=0.002)
        assert standing.high < 0.01


def test_a_share_that_is_off_stops_a_rollout_and_one_that_changes_step_by_step_does_not() -> None:
    steps = [traffic(at, 6000, share=share, champion=0.8, candidate=0.8) for at, share in enumerate((0.01, 0.1, 0.5))]
    of = plan("success")
    evidence, off = Evidence(of), Evidence(of)
    for step, (scores, share) in enumerate(zip(steps, (0.01, 0.1, 0.5), strict=True)):
        moved = [
            msgspec.structs.replace(each, at=each.at + 6000 * step, unit=f"{step}-{each.unit}") for each in scores
        ]
        evidence.expect(6000.0 * step, share)
        evidence.take(moved)
        off.expect(6000.0 * step, share * 0.8)
        off.take(moved)

    assert evidence.verdict(1e5, 0.0).because != "ratio"
    verdict = off.verdict(1e5, 0.0)
    assert (verdict.kind, verdict.because) == ("stop", "ratio")
    assert "of 5990 units got the candidate, where 40.0% should" in verdict.reason


def test_a_unit_counts_once_in_the_ratio_however_much_it_asks() -> None:
    evidence = Evidence(plan("success"))
    evidence.expect(0.0, 0.1)
    busy = [score(at, candidate=True, value=1.0, unit=f"busy-{at % 3}") for at in range(2000)]
    evidence.take([*traffic(1, 2000, share=0.1, champion=1.0, candidate=1.0), *busy])

    assert evidence.verdict(1e5, 0.0).because != "ratio"


def test_a_metric_that_requests_lack_stops_a_rollout() -> None:
    three = ("success", "latency", "cost")
    scores = traffic(1, 4000, share=0.1, champion=0.9, candidate=0.9, metrics=three)
    none = [each for each in scores if each.metric != "cost"]
    some_lack = [each for each in scores if each.metric != "cost" or each.release == "rel_a" or each.at % 2]

    assert _told(plan(*three), scores).because != "missing"
    verdict = _told(plan(*three), none)
    assert (verdict.kind, verdict.because) == ("stop", "missing")
    assert "requests has a score of cost" in verdict.reason
    assert _told(plan(*three), none, silent=("cost",)).because == "silent"
    assert _told(plan(*three), some_lack).because == "missing"
    # What is on its way is not missing.
    assert _told(plan(*three), none[:800], now=400.0).because == "open"


def test_answers_of_a_cache_have_success_alone_and_lack_nothing() -> None:
    scores = traffic(1, 4000, share=0.1, champion=0.9, candidate=0.9, metrics=("success", "latency", "cost"))
    cached = [each for each in scores if each.metric == "success" or each.release == "rel_b" or each.at % 3]

    assert _told(plan("success", "latency", "cost"), cached).because != "missing"


def test_an_hour_without_a_scorer_does_not_make_it_missing_for_good() -> None:
    first = traffic(1, 4000, share=0.01, champion=0.9, candidate=0.9, metrics=("success", "latency", "cost"))
    then = traffic(2, 4000, share=0.5, champion=0.9, candidate=0.9, metrics=("success", "latency"))
    later = [msgspec.structs.replace(each, at=each.at + 4020) for each in then]

    assert _told(plan("success", "latency", "cost"), first + later).because != "missing"


@settings(max_examples=25, deadline=None)
@given(cut=some.lists(some.integers(0, 900), max_size=6), seed=some.integers(0, 5))
def test_evidence_that_is_built_again_is_the_same_however_the_scores_came_in(cut: list[int], seed: int) -> None:
    random = Random(seed)
    scores = [
        msgspec.structs.replace(each, unit=f"u{random.randrange(40)}", at=float(random.randrange(600)))
        for each in traffic(seed, 900, share=0.3, champion=0.8, candidate=0.7)
    ]
    whole, parts = Evidence(plan("success")), Evidence(plan("success"))
    whole.take(scores)
    places = [0, *sorted(cut), len(scores)]
    for begin, end in pairwise(places):
        parts.take(scores[begin:end])
        parts.verdict(1e5, 0.0)

    assert msgspec.json.encode(parts.verdict(1e5, 0.0)) == msgspec.json.encode(whole.verdict(1e5, 0.0))


def test_a_unit_counts_once_in_a_window_with_the_mean_of_what_it_had() -> None:
    values = [0.0, 1.0, 1.0, 0.0, 1.0, 1.0]
    evidence = Evidence(plan("success", window_s=60.0))
    evidence.take([score(0, candidate=False, value=0.5, unit="other")])
    evidence.take([score(at, candidate=True, value=value, unit="me") for at, value in enumerate(values)])
    once = Evidence(plan("success", window_s=60.0))
    once.take([score(0, candidate=False, value=0.5, unit="other")])
    once.take([score(0, candidate=True, value=sum(values) / len(values), unit="me")])

    (many,), (one,) = evidence.verdict(10.0, 0.0).standings, once.verdict(10.0, 0.0).standings
    assert many.candidate_units == 1
    assert many.candidate_mean == pytest.approx(one.candidate_mean)
    assert (many.low, many.high) == pytest.approx((one.low, one.high), abs=1e-3)


def test_a_plan_without_gates_is_never_decided_by_scores() -> None:
    verdict = _told(plan(), traffic(1, 1000, share=0.1, champion=0.9, candidate=0.1))

    assert (verdict.kind, verdict.reason) == ("hold", "This plan has no gates.")


@pytest.mark.parametrize(("name", "metric"), [("feedback", "feedback"), ("resolved", "feedback.resolved")])
def test_what_clients_report_counts_under_the_metric_that_the_plan_gives_it(name: str, metric: str) -> None:
    of = plan("success")
    heard = measure("happy", "feedback", FeedbackSettings(name=name, low=0.5, high=0.0))
    of = msgspec.structs.replace(
        of, gates=(msgspec.structs.replace(of.gates[0], metric="happy"),), measures=(*of.measures, heard)
    )
    told = [score(at, candidate=at % 2 == 0, value=0.25 if at % 2 else 0.5, metric="success") for at in range(400)]
    told = [msgspec.structs.replace(each, metric=metric, version="") for each in told]
    verdict = _told(of, told)
    assert (verdict.standings[0].champion_mean, verdict.standings[0].candidate_mean) == (0.5, 0.0)
    assert verdict.kind == "rollback"
    unheard = [msgspec.structs.replace(each, metric="feedback.other") for each in told]
    assert _told(of, unheard).standings[0].candidate_units == 0
