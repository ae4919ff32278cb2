"""Which limits and budgets hold for whom, what a request needs of them, and what it is said to have used."""

from __future__ import annotations

import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.access.book import Book
from penstock.access.limits import Amounts, Applying, Rules, budget_counter, needs, until, used
from penstock.core.accounts import Budget, Directory, Limit
from penstock.core.identity import Principal
from penstock.core.leases import Granted, Hold

AT = datetime.datetime(2026, 3, 18, 15, 30, 20, tzinfo=datetime.UTC).timestamp()
"""A Wednesday."""
USD = 1_000_000_000


def limit(id: str, kind: str = "key", subject: str = "*", **fields: object) -> Limit:
    said = {"metric": "requests", "amount": 10, **fields}
    return Limit(id=id, kind=kind, subject=subject, **said)  # type: ignore[arg-type]


def budget(id: str, kind: str = "project", subject: str = "*", **fields: object) -> Budget:
    said = {"amount_nano": USD, **fields}
    return Budget(id=id, kind=kind, subject=subject, **said)  # type: ignore[arg-type]


def caller(**fields: object) -> Principal:
    said = {"key_id": "app", "project": "red", "role": "developer", "user": "ada", "team": "ops", **fields}
    return Principal(**said)  # type: ignore[arg-type]


def found(*rules: Limit | Budget, who: Principal | None = None, service: str = "chat") -> Applying:
    limits = tuple(each for each in rules if isinstance(each, Limit))
    budgets = tuple(each for each in rules if isinstance(each, Budget))
    return Rules(Directory(limits=limits, budgets=budgets)).applying(who or caller(), service)


def counters(applying: Applying) -> list[str]:
    return [rule.counter for rule in (*applying.limits, *applying.budgets)]


# -- which hold ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "subject", "other"),
    [
        ("key", "app", "other"),
        ("user", "ada", "bob"),
        ("team", "ops", "sea"),
        ("project", "red", "blue"),
        ("service", "chat", "embed"),
    ],
)
def test_one_on_a_subject_holds_for_it_and_nobody_else(kind: str, subject: str, other: str) -> None:
    for make in (limit, budget):
        assert counters(found(make("x", kind, subject), make("y", kind, other))) == [f"x:{subject}"]


def test_a_global_one_holds_for_everybody_whatever_its_subject_says() -> None:
    assert counters(found(limit("x", "global"), budget("y", "global", ""))) == ["x:", "y:"]


def test_one_on_all_of_a_kind_counts_each_by_itself() -> None:
    rules = Rules(Directory(limits=(limit("x"),)))
    ids = [rules.applying(caller(key_id=key), "chat").limits[0].counter for key in ("a", "b", "a")]
    assert ids == ["x:a", "x:b", "x:a"]


def test_whoever_has_no_user_or_team_is_in_nobodys() -> None:
    nobody = caller(user="", team="")
    assert counters(found(limit("x", "user"), limit("y", "team"), budget("z", "user"), who=nobody)) == []


def test_an_own_one_takes_the_place_of_that_for_all_of_the_same_kind_metric_and_time() -> None:
    everyones = (limit("all"), budget("alls"))
    assert counters(found(*everyones, limit("own", subject="app"), budget("owns", subject="red"))) == [
        "own:app",
        "owns:red",
    ]
    assert counters(found(*everyones, limit("other", subject="b"), budget("others", subject="b"))) == [
        "all:app",
        "alls:red",
    ]


@pytest.mark.parametrize(
    "own",
    [
        limit("own", subject="app", metric="tokens"),
        limit("own", subject="app", per="day"),
        limit("own", subject="app", service="chat"),
        limit("own", "project", "red"),
    ],
)
def test_one_that_counts_something_else_stands_beside_it(own: Limit) -> None:
    assert [rule.about.id for rule in found(limit("all"), own).limits] == ["all", "own"]


def test_budgets_of_several_periods_stand_beside_one_another() -> None:
    periods = ("day", "week", "month", "total")
    own = [budget(each, subject="red", period=each) for each in periods]
    assert [rule.about.id for rule in found(budget("all", period="month"), *own).budgets] == list(periods)


def test_one_narrowed_to_a_service_holds_there() -> None:
    narrowed = (limit("x", service="chat"), budget("y", service="chat"))
    assert counters(found(*narrowed)) == ["x:app", "y:red"]
    assert counters(found(*narrowed, service="embed")) == []


@pytest.mark.parametrize(
    ("rules", "counts"),
    [
        ((), False),
        ((limit("x"),), False),
        ((limit("x", metric="concurrent", per=""),), False),
        ((limit("x", metric="input_tokens"),), True),
        ((limit("x", metric="output_tokens"),), True),
        ((limit("x", metric="tokens"),), True),
        ((budget("x"),), True),
        ((limit("x", subject="other", metric="tokens"),), False),
    ],
)
def test_tokens_are_counted_where_something_counts_them(rules: tuple[Limit | Budget, ...], counts: bool) -> None:
    assert found(*rules).counts_tokens is counts


def test_it_is_looked_up_once_for_each_caller_and_service() -> None:
    rules = Rules(Directory(limits=(limit("x"),)))
    assert rules.applying(caller(), "chat") is rules.applying(caller(role="viewer"), "chat")
    assert rules.applying(caller(), "chat") is not rules.applying(caller(), "embed")


# -- what they need ------------------------------------------------------------------------------------------------


def test_each_is_asked_for_what_it_counts() -> None:
    metrics = ("requests", "input_tokens", "output_tokens", "tokens")
    applying = found(
        *(limit(each, metric=each, amount=100) for each in metrics),
        limit("daily", per="day", amount=7),
        limit("held", metric="concurrent", per="", amount=3),
        budget("money"),
    )
    asked = needs(applying, Amounts(1, 20, 300, 4000), AT)
    assert [(need.hold, need.limit, need.amount, need.window_s) for need in asked] == [
        (Hold.SLIDING, 100, 1, 61.0),
        (Hold.SLIDING, 100, 20, 61.0),
        (Hold.SLIDING, 100, 300, 61.0),
        (Hold.SLIDING, 100, 320, 61.0),
        (Hold.SLIDING, 7, 1, 86401.0),
        (Hold.HELD, 3, 1, 0.0),
        (Hold.KEPT, USD, 4000, 0.0),
    ]
    more = needs(applying, Amounts(0, 5, 6, 7), AT)
    assert [need.amount for need in more] == [0, 5, 6, 11, 0, 0, 7]
    assert [need.counter for need in more] == [need.counter for need in asked]


@pytest.mark.parametrize(
    ("period", "begin", "end"),
    [
        ("day", (2026, 3, 18), (2026, 3, 19)),
        ("week", (2026, 3, 16), (2026, 3, 23)),
        ("month", (2026, 3, 1), (2026, 4, 1)),
    ],
)
def test_a_budget_is_of_its_calendar_period_in_utc(
    period: str, begin: tuple[int, int, int], end: tuple[int, int, int]
) -> None:
    first, last = (datetime.datetime(*each, tzinfo=datetime.UTC).timestamp() for each in (begin, end))
    applying = found(budget("b", period=period))
    for at in (first, AT, last - 0.001):
        (need,) = needs(applying, Amounts(1, 0, 0, 1), at)
        assert need.counter == budget_counter("b:red", first) == f"b:red:{int(first)}"
        assert need.until == until(last) > last
    for at in (first - 0.001, last):
        (need,) = needs(applying, Amounts(1, 0, 0, 1), at)
        assert need.counter != f"b:red:{int(first)}"


def test_a_budget_in_all_is_one_for_ever_that_every_store_can_write() -> None:
    applying = found(budget("b", period="total"))
    (early,), (late,) = (needs(applying, Amounts(1, 0, 0, 1), at) for at in (0.0, 3e9))
    assert early == late
    assert early.counter == "b:red:0"
    assert 3e10 < early.until < 2**53


_METRICS = st.sampled_from(["requests", "input_tokens", "output_tokens", "tokens", "concurrent"])
_KINDS = st.sampled_from(["key", "user", "team", "project", "service", "global"])
_SUBJECTS = st.sampled_from(["*", "app", "ada", "ops", "red", "chat", "other"])
_LIMITS = st.builds(
    lambda number, kind, subject, service, metric, per, amount: limit(
        f"l{number}", kind, subject, service=service, metric=metric,
        per="" if metric == "concurrent" else per, amount=amount,
    ),
    st.integers(0, 99), _KINDS, _SUBJECTS, st.sampled_from(["", "chat", "embed"]), _METRICS,
    st.sampled_from(["minute", "day"]), st.integers(0, 10**9),
)  # fmt: skip
_BUDGETS = st.builds(
    lambda number, kind, subject, service, period: budget(f"b{number}", kind, subject, service=service, period=period),
    st.integers(0, 99), _KINDS, _SUBJECTS, st.sampled_from(["", "chat", "embed"]),
    st.sampled_from(["day", "week", "month", "total"]),
)  # fmt: skip
_AMOUNTS = st.builds(Amounts, st.just(1), *(st.integers(0, 10**6) for _ in range(3)))


@given(
    st.lists(_LIMITS, max_size=8, unique_by=lambda each: each.id),
    st.lists(_BUDGETS, max_size=8, unique_by=lambda each: each.id),
    _AMOUNTS,
    _AMOUNTS,
    st.floats(0, 4e9),
)
def test_what_is_used_is_said_of_every_counter_that_was_reserved(
    limits: list[Limit], budgets: list[Budget], reserved: Amounts, spent: Amounts, at: float
) -> None:
    applying = found(*limits, *budgets)
    asked = needs(applying, reserved, at)
    told = used(applying, spent, at)
    assert [need.counter for need in asked] == list(told)
    assert len(asked) == len(told), "two of them share a counter"
    # What is told is what would have been asked for, had it been known.
    assert [need.amount for need in needs(applying, spent, at)] == list(told.values())
    # And the counters end with exactly that, nothing reserved being left.
    book = Book()
    ample = [
        need.__class__(need.counter, need.hold, 10**12, need.amount, need.window_s, need.until) for need in asked
    ]
    assert isinstance(book.reserve("w", "a", ample, at), Granted)
    book.settle("w", "a", told)
    answer = book.reserve("w", "b", [type(n)(n.counter, n.hold, 10**12, 0, n.window_s, n.until) for n in asked], at)
    left = [10**12 - level.remaining for level in answer.levels]
    assert left == [0 if need.hold is Hold.HELD else told[need.counter] for need in asked]


# -- what is said of them ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rule", "words"),
    [
        (limit("lim_1", amount=5), "the limit of 5 requests per minute of key 'app' (lim_1)"),
        (
            limit("lim_1", "user", "ada", metric="input_tokens", per="day", amount=9),
            "the limit of 9 input tokens per day of user 'ada' (lim_1)",
        ),
        (
            limit("lim_1", "project", metric="concurrent", per="", amount=2, service="chat"),
            "the limit of 2 requests at once of project 'red' at service 'chat' (lim_1)",
        ),
        (
            limit("lim_1", "service", "chat", service="chat", metric="tokens"),
            "the limit of 10 tokens per minute of service 'chat' (lim_1)",
        ),
        (limit("lim_1", "global"), "the limit of 10 requests per minute of the whole gateway (lim_1)"),
        (budget("bud_1"), "the budget of $1.00 a month of project 'red' (bud_1)"),
        (
            budget("bud_1", "team", period="total", amount_nano=USD // 8, service="chat"),
            "the budget of $0.125 in all of team 'ops' at service 'chat' (bud_1)",
        ),
    ],
)
def test_people_are_told_which_one_it_is(rule: Limit | Budget, words: str) -> None:
    applying = found(rule)
    (told,) = (*applying.limits, *applying.budgets)
    assert told.said() == words
