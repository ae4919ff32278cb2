"""What a client is told of limits and budgets."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.access.limits import Amounts, Applying, Rule, needs
from penstock.core.accounts import Budget, Limit
from penstock.core.errors import BUDGET_EXCEEDED, RATE_LIMITED, PenstockError
from penstock.core.leases import Level, Refused
from penstock.gateway.refused import capital, limit_headers, refusal
from tests.gateway.leasing import USD, budget, limit

AMOUNTS = Amounts(1, 30, 70, 250_000_000)


def applying(*rules: Limit | Budget) -> Applying:
    made = [Rule(f"{about.id}:a", about, "a") for about in rules]
    return Applying(
        tuple(rule for rule in made if isinstance(rule.about, Limit)),
        tuple(rule for rule in made if isinstance(rule.about, Budget)),
        True,
    )


def told(tightest: int, retry_after: float | None, *levels: Level) -> PenstockError:
    rules = applying(limit(amount=5), limit("tokens", 90, id="lim_2"), budget(USD, period="week"))
    answer = Refused(tightest, retry_after, levels or (Level(4, 1.0), Level(20, 30.2), Level(100_000_000, 0.0)))
    return refusal(answer, rules, needs(rules, AMOUNTS, 1_800_000_000.0), AMOUNTS)


def test_a_limit_says_what_is_left_what_was_wanted_and_when_to_come_back() -> None:
    error = told(1, 12.3)
    assert error.fault is RATE_LIMITED
    assert error.retry_after == 12.3
    assert error.message == (
        "The limit of 90 tokens per minute of key 'a' (lim_2) is reached: 20 left, 100 wanted. Try again in 13 s."
    )


def test_what_is_more_than_the_limit_itself_is_never_to_be_tried_again() -> None:
    error = told(1, math.inf)
    assert (error.fault, error.retry_after) == (RATE_LIMITED, None)
    assert error.message.startswith("This request may use 100, which the limit of 90 tokens per minute of key 'a'")
    assert "`max_tokens`" in error.message


def test_a_place_is_worth_asking_for_again_in_a_second() -> None:
    rules = applying(limit("concurrent", 2, per=""))
    asked = needs(rules, AMOUNTS, 1_800_000_000.0)
    error = refusal(Refused(0, None, (Level(0, 0.0),)), rules, asked, AMOUNTS)
    assert error.retry_after == 1.0
    assert "2 requests at once of key 'a'" in error.message


@pytest.mark.parametrize("retry_after", [None, math.inf])
def test_a_budget_says_what_it_may_cost_and_what_is_left_and_no_time(retry_after: float | None) -> None:
    error = told(2, retry_after)
    assert (error.fault, error.retry_after) == (BUDGET_EXCEEDED, None)
    assert error.message.startswith(
        "This request may cost $0.25, and the budget of $1.00 a week of project 'a' (bud_1) has $0.10 left."
    )


def test_a_refusal_has_the_headers_too() -> None:
    assert told(0, 1.0).headers == {
        "x-ratelimit-limit-requests": "5",
        "x-ratelimit-remaining-requests": "4",
        "x-ratelimit-reset-requests": "1s",
        "x-ratelimit-limit-tokens": "90",
        "x-ratelimit-remaining-tokens": "20",
        "x-ratelimit-reset-tokens": "31s",
    }


def test_places_and_budgets_have_no_headers_and_an_uncounted_request_none_at_all() -> None:
    rules = applying(limit("concurrent", 2, per=""), budget())
    assert limit_headers(rules, (Level(1, 0.0), Level(5, 0.0))) == {}
    assert limit_headers(applying(limit()), ()) == {}


_LIMITS = st.lists(
    st.tuples(
        st.sampled_from(["requests", "tokens", "input_tokens", "output_tokens"]), st.integers(0, 50),
        st.integers(-5, 50), st.floats(0, 86_400),
    ),
    min_size=1, max_size=5,
)  # fmt: skip


@given(_LIMITS)
def test_of_several_the_one_with_the_smallest_share_left_is_shown(
    standing: list[tuple[str, int, int, float]],
) -> None:
    rules = applying(
        *(limit(metric, amount, id=f"lim_{number}") for number, (metric, amount, _, _) in enumerate(standing))
    )
    found = limit_headers(rules, [Level(remaining, reset_s) for _, _, remaining, reset_s in standing])
    for what in ("requests", "tokens"):
        of = [each for each in standing if (each[0] == "requests") == (what == "requests")]
        shown = {name.split("-")[2]: value for name, value in found.items() if name.endswith(what)}
        if not of:
            assert shown == {}
            continue
        assert (int(shown["limit"]), int(shown["remaining"]), shown["reset"]) in [
            (amount, max(0, remaining), f"{math.ceil(reset_s)}s")
            for _, amount, remaining, reset_s in of
            if _share(amount, remaining) == min(_share(each[1], each[2]) for each in of)
        ]


def _share(amount: int, remaining: int) -> float:
    return remaining / amount if amount else 0.0


def test_a_sentence_begins_with_a_capital() -> None:
    assert [capital(words) for words in ("the limit of X", "", "À la")] == ["The limit of X", "", "À la"]
