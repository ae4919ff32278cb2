"""How long it will take to know."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.rollouts import simulated
from penstock.core.releases import Step
from penstock.quality.config import JudgeSettings, measure
from penstock.quality.preflight import Known, Traffic, preflight
from tests.quality.plans import plan

TENTH = (Step(share=100_000),)
COIN = Known(mean=0.8, variance=0.16)


def test_a_drop_takes_about_as_many_units_as_simulated_rollouts_do() -> None:
    (expected,) = preflight(
        plan("success", steps=TENTH),
        Traffic(units_per_hour=1000, requests_per_hour=1000, champion={"success": COIN}),
    ).expected
    drop = simulated("plain", -0.05, 60, 5).rolled_back(1)

    assert np.median(drop) * 0.7 < expected.drop_units < np.median(drop) * 1.7
    assert expected.drop_s == pytest.approx(expected.drop_units / 100 * 3600, rel=0.01)


def test_what_is_expected_is_said_in_one_sentence() -> None:
    found = preflight(
        plan("success", "latency", steps=TENTH),
        Traffic(
            units_per_hour=1000,
            requests_per_hour=1000,
            champion={"success": COIN, "latency": Known(mean=0.95, variance=0.0475)},
        ),
    )

    assert found.decidable
    assert found.drop_s is not None
    assert found.equal_s is not None
    assert found.drop_s > found.equal_s
    assert found.sentence == (
        "At 1,000 units an hour, a drop of 5 points would be seen after about 5.3 hours (success), and a candidate "
        "that is as good is known to be after about 4.3 hours (success)."
    )


def test_too_little_traffic_is_said_and_golden_pairs_are_offered() -> None:
    found = preflight(plan("success", steps=TENTH), Traffic(units_per_hour=10, requests_per_hour=10))

    assert not found.decidable
    assert found.equal_s is None
    assert found.expected[0].assumed
    assert "success cannot be decided within 7 days" in found.sentence
    assert "golden set" in found.sentence


def test_of_a_service_that_nobody_asks_it_is_said() -> None:
    found = preflight(plan("success", steps=TENTH), Traffic(units_per_hour=0, requests_per_hour=0))
    assert found.sentence.startswith("Without any traffic in the last day, success cannot be decided")


def test_more_units_than_the_plan_allows_cannot_be_waited_for_either() -> None:
    rich = Traffic(units_per_hour=1e6, requests_per_hour=1e6)

    assert preflight(plan("success", steps=TENTH), rich).decidable
    assert not preflight(plan("success", steps=TENTH, max_samples=200), rich).decidable


def test_a_first_step_of_little_share_takes_its_time_and_counts() -> None:
    traffic = Traffic(units_per_hour=1000, requests_per_hour=1000, champion={"success": COIN})
    slow = (Step(share=10_000, hold_s=7200.0), Step(share=500_000))

    stepped, straight = (preflight(plan("success", steps=steps), traffic).expected[0] for steps in (slow, slow[1:]))

    assert stepped.equal_s is not None
    assert straight.equal_s is not None
    assert straight.equal_s < stepped.equal_s < straight.equal_s + 7200.0


def test_what_judging_costs_is_of_all_requests_that_are_judged() -> None:
    judge = measure("judge", "judge", JudgeSettings(service="judge", rubric="Right.", share=0.5))
    traffic = Traffic(
        units_per_hour=1000,
        requests_per_hour=2000,
        judge_dollars=0.01,
        champion={"judge": Known(mean=0.7, variance=0.05)},
    )

    found = preflight(plan("judge", measures=(judge,), steps=TENTH), traffic)

    assert found.equal_s is not None
    assert found.judge_dollars == pytest.approx(0.5 * 2000 * found.equal_s / 3600 * 0.01)
    assert f"Judging will cost about ${found.judge_dollars:,.2f}." in found.sentence


def test_a_plan_without_gates_says_so() -> None:
    assert preflight(plan(), Traffic(units_per_hour=1, requests_per_hour=1)).sentence.startswith("There are no gates")
