"""What follows a failed attempt: the whole table."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.core.errors import (
    BAD_REQUEST,
    UPSTREAM_BROKEN,
    UPSTREAM_RATE_LIMITED,
    UPSTREAM_REFUSED_KEY,
    Fault,
)
from penstock.core.policy import Retry
from penstock.routing.retry import Again, Decision, GiveUp, NextModel, RetryBudget, after_failure

POLICY = Retry(attempts=3, backoff_s=0.25, max_backoff_s=2.0)


@pytest.mark.parametrize(
    ("fault", "number", "retry_after", "others", "left_s", "decision"),
    [
        (BAD_REQUEST, 1, None, True, 60, GiveUp()),
        (UPSTREAM_BROKEN, 1, None, True, 60, Again(0.0, same=False)),
        (UPSTREAM_BROKEN, 1, None, False, 60, Again(0.1875, same=True)),
        (UPSTREAM_BROKEN, 2, None, False, 60, Again(0.375, same=True)),
        (UPSTREAM_BROKEN, 3, None, True, 60, NextModel()),
        (UPSTREAM_BROKEN, 2, None, False, 0.1, NextModel()),
        (UPSTREAM_RATE_LIMITED, 1, 1.5, True, 60, Again(0.0, same=False)),
        (UPSTREAM_RATE_LIMITED, 1, 1.5, False, 60, Again(1.625, same=True)),
        (UPSTREAM_RATE_LIMITED, 1, 2.5, False, 60, NextModel()),
        (UPSTREAM_RATE_LIMITED, 1, 1.5, False, 1.0, NextModel()),
        (UPSTREAM_RATE_LIMITED, 1, None, True, 60, Again(0.0, same=False)),
        (UPSTREAM_RATE_LIMITED, 1, None, False, 60, Again(1.125, same=True)),
        (UPSTREAM_REFUSED_KEY, 1, None, True, 60, Again(0.0, same=False)),
        (UPSTREAM_REFUSED_KEY, 1, None, False, 60, NextModel()),
    ],
)
def test_what_follows(
    fault: Fault, number: int, retry_after: float | None, others: bool, left_s: float, decision: Decision
) -> None:
    found = after_failure(
        POLICY,
        number=number,
        fault=fault,
        retry_after=retry_after,
        others=others,
        fallback=False,
        left_s=left_s,
        draw=0.5,
    )
    assert found == decision


def test_a_throttled_model_that_names_no_time_is_not_waited_for_when_there_is_another() -> None:
    def follows(retry_after: float | None) -> Decision:
        return after_failure(
            POLICY,
            number=1,
            fault=UPSTREAM_RATE_LIMITED,
            retry_after=retry_after,
            others=False,
            fallback=True,
            left_s=60,
            draw=0.5,
        )

    assert follows(None) == NextModel()
    assert isinstance(follows(1.0), Again)


@given(asked=st.floats(0, 2), draw=st.floats(0, 1, exclude_max=True), backoff_s=st.floats(0, 5))
def test_who_names_a_time_is_never_asked_sooner(asked: float, draw: float, backoff_s: float) -> None:
    found = after_failure(
        Retry(backoff_s=backoff_s),
        number=1,
        fault=UPSTREAM_RATE_LIMITED,
        retry_after=asked,
        others=False,
        fallback=False,
        left_s=60,
        draw=draw,
    )
    assert isinstance(found, Again)
    # A timer may ring a few milliseconds early.
    assert asked + 0.005 < found.after_s <= asked + max(0.01, backoff_s)


@given(number=st.integers(1, 9), draw=st.floats(0, 1, exclude_max=True))
def test_a_wait_is_random_and_never_longer_than_the_longest(number: int, draw: float) -> None:
    policy = Retry(attempts=10, backoff_s=0.1, max_backoff_s=1.0)
    found = after_failure(
        policy,
        number=number,
        fault=UPSTREAM_BROKEN,
        retry_after=None,
        others=False,
        fallback=False,
        left_s=1e9,
        draw=draw,
    )
    assert isinstance(found, Again)
    whole = min(1.0, 0.1 * 2 ** (number - 1))
    assert whole / 2 <= found.after_s <= whole


def test_a_failing_upstream_is_not_buried_under_retries() -> None:
    budget = RetryBudget()
    granted = 0
    for request in range(1000):
        now = 100 + request / 200
        budget.request(now)
        granted += sum(budget.spend(now, 0.2) for _ in range(2))
    assert granted == 10 + 200


def test_a_budget_forgets_after_ten_seconds() -> None:
    budget = RetryBudget()
    assert sum(budget.spend(50.0, 0.2) for _ in range(20)) == 10
    assert not budget.spend(58.0, 0.2)
    assert budget.spend(61.0, 0.2)
