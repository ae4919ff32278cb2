"""A budget that comes near its end says so before it stops anybody."""

from __future__ import annotations

from penstock.access.limits import Applying, Rule
from penstock.core.accounts import Budget, Limit
from penstock.core.leases import Level
from penstock.gateway.refused import warnings

LIMIT = Rule("l:red", Limit(id="l", kind="project", metric="requests", amount=10), "red")
BUDGET = Rule("b:red", Budget(id="b", kind="project", subject="red", amount_nano=1000, warn_percent=(50, 90)), "red")


def told(remaining: int) -> list[tuple[str, str]]:
    return warnings(Applying((LIMIT,), (BUDGET,), True), [Level(0, 60.0), Level(remaining, 0.0)])


def test_nothing_is_said_before_the_first_share() -> None:
    assert told(501) == []


def test_each_share_is_told_by_a_name_of_its_own() -> None:
    (half,) = told(500)
    (more,) = told(200)
    (most,) = told(0)
    assert half[0] == more[0] == "b:red:50"
    assert most[0] == "b:red:90"
    assert half[1].startswith("50 % of the budget of $0.000001 a month of project 'red' (b)")
    assert most[1].startswith("100 %")


def test_a_budget_of_nothing_and_a_refusal_without_levels_warn_of_nothing() -> None:
    none = Rule("b:red", Budget(id="b", kind="project", subject="red", amount_nano=0), "red")
    assert warnings(Applying((), (none,), True), [Level(0, 0.0)]) == []
    assert warnings(Applying((LIMIT,), (BUDGET,), True), []) == []
