"""When a replica is started again, and when it is given up."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.fleet.restart import (
    ATTEMPTS,
    HEALTHY_S,
    LONGEST_BACKOFF_S,
    Again,
    GiveUp,
    History,
    after_end,
    after_refusal,
    backoff_s,
)


@pytest.mark.parametrize(
    ("failures", "seconds"), [(0, 0), (1, 0), (2, 0.5), (3, 1), (4, 2), (5, 4), (7, 16), (8, 30), (10**9, 30)]
)
def test_the_wait_doubles_to_a_bound(failures: int, seconds: float) -> None:
    assert backoff_s(failures) == seconds


def test_a_first_crash_is_mended_at_once() -> None:
    _, decision = after_end(History(), 0.1)
    assert decision == Again(0.0)


def test_crashes_in_a_row_wait_longer_and_a_healthy_minute_forgets_them() -> None:
    history, waits = History(), []
    for up_s in (5, 5, 5, 59.9, HEALTHY_S, 5):
        history, decision = after_end(history, up_s)
        assert isinstance(decision, Again)
        waits.append(decision.after_s)
    assert waits == [0, 0.5, 1, 2, 0, 0.5]


def test_what_never_came_up_is_given_up_after_three_attempts() -> None:
    history, decisions = History(), []
    for _ in range(ATTEMPTS):
        history, decision = after_refusal(history)
        decisions.append(decision)
    assert decisions == [Again(0.0), Again(0.5), GiveUp()]


@given(st.lists(st.one_of(st.none(), st.floats(0, 1e6)), max_size=60))
def test_what_has_been_up_is_never_given_up_and_waits_are_bounded(happened: list[float | None]) -> None:
    """None is a refused start, a number the seconds it was up before it ended."""
    history, _ = after_end(History(), 0.0)
    for up_s in happened:
        before = history.failures
        history, decision = after_refusal(history) if up_s is None else after_end(history, up_s)
        assert isinstance(decision, Again)
        assert 0 <= decision.after_s <= LONGEST_BACKOFF_S
        assert history.failures == (1 if up_s is not None and up_s >= HEALTHY_S else before + 1)
        assert history.refusals == 0
