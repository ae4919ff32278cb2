"""When a tier rests, and how one trial at a time finds out that it is back."""

from __future__ import annotations

from penstock.caches.breaker import FAILURES, MOST_REST_S, REST_S, Breaker


def rested() -> Breaker:
    breaker = Breaker()
    for _ in range(FAILURES):
        assert breaker.may(0.0)
        begins = breaker.bad(0.0)
    assert begins
    return breaker


def test_some_failures_that_are_not_in_a_row_are_nothing() -> None:
    breaker = Breaker()
    for _ in range(20):
        assert not breaker.bad(0.0)
        assert not breaker.bad(0.0)
        assert not breaker.good()
    assert breaker.may(0.0)


def test_after_a_rest_one_trial_at_a_time() -> None:
    breaker = rested()
    assert breaker.resting
    assert not breaker.may(REST_S - 0.01)
    assert breaker.may(REST_S)
    assert not breaker.may(REST_S)
    assert breaker.good()
    assert not breaker.resting
    assert breaker.may(REST_S)


def test_a_trial_that_fails_rests_twice_as_long_up_to_a_bound() -> None:
    breaker, now, rest = rested(), 0.0, REST_S
    for _ in range(12):
        now += rest
        assert breaker.may(now)
        assert not breaker.bad(now)
        rest = min(2 * rest, MOST_REST_S)
        assert not breaker.may(now + rest - 0.01)
    assert rest == MOST_REST_S
    breaker.may(now + rest)
    breaker.good()
    for _ in range(FAILURES):
        breaker.bad(now)
    assert breaker.may(now + REST_S)


def test_late_news_of_calls_before_the_rest_change_nothing() -> None:
    breaker = rested()
    assert not breaker.bad(REST_S / 2)
    assert breaker.may(REST_S)


def test_a_trial_that_was_given_up_is_followed_by_another() -> None:
    breaker = rested()
    assert breaker.may(REST_S)
    breaker.unknown()
    assert breaker.may(REST_S)
