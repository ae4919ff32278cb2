"""How fast budgets burn, and what is told of it."""

from __future__ import annotations

import math

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.control.objectives.book import Book
from penstock.control.objectives.conditions import Condition
from penstock.control.objectives.counting import Count, counted
from penstock.control.objectives.standing import Stood, burn, conditions, promise, stood
from penstock.core.series import SeriesRow
from penstock.observe.config import Objective
from penstock.observe.windows import DAY_S, Rule, label, lengths, rules_of
from penstock.store.forgetful_series import ForgetfulSeries
from tests.control.objectives.rows import AVAILABLE, FAST, NOON, fed, row

HOUR = 3600.0


def standing(objective: Objective, *rows: SeriesRow, told: float = NOON, now: float = NOON) -> Stood:
    series = ForgetfulSeries()
    series.append_series(rows, fed(told))
    book = Book({"assistant": [objective]})
    book.read(series, now)
    return stood(book, lambda *_: None, "assistant", objective, now)


def told(standing: Stood) -> dict[str, bool | None]:
    return {each.severity: each.holds for each in conditions(standing)}


def steady(rate: float, hours: float, per_minute: int = 100) -> list[SeriesRow]:
    """The same share of failures in every minute up to noon."""
    bad = round(per_minute * rate)
    return [row(NOON - 60.0 * minute - 60.0, per_minute - bad, bad) for minute in range(int(hours * 60))]


def test_the_windows_of_the_book() -> None:
    assert rules_of(AVAILABLE) == (
        Rule(3600, 300, 14.4, "page"),
        Rule(21600, 1800, 6.0, "page"),
        Rule(86400, 7200, 3.0, "ticket"),
        Rule(259200, 21600, 1.0, "ticket"),
    )


def test_windows_scale_with_that_of_the_objective() -> None:
    week = msgspec.structs.replace(AVAILABLE, window_days=7)
    assert [label(each) for each in lengths(week)] == ["1m", "7m", "14m", "28m", "1h24m", "5h36m", "16h48m"]
    quarter = msgspec.structs.replace(AVAILABLE, window_days=90)
    assert [label(each) for each in lengths(quarter)] == ["15m", "1h30m", "3h", "6h", "18h", "3d", "9d"]


@given(target=st.floats(0.01, 0.9999), days=st.floats(1, 90))
def test_a_whole_outage_fires_every_rule(target: float, days: float) -> None:
    objective = Objective(kind="availability", target=target, window_days=days)
    assert all(rule.factor < burn(objective, Count(10, 10)) for rule in rules_of(objective))  # type: ignore[operator]
    assert all(rule.short_s <= rule.long_s for rule in rules_of(objective))


@pytest.mark.parametrize(
    ("rate", "page", "ticket"),
    # Against a budget of 0.1 %: nothing, twice, four times, ten times, twenty times as much.
    [(0.0, False, False), (0.002, False, True), (0.004, False, True), (0.01, True, True), (0.02, True, True)],
)
def test_how_fast_it_burns_decides_who_is_told(rate: float, page: bool, ticket: bool) -> None:
    found = told(standing(AVAILABLE, *steady(rate, 24, per_minute=1000)))
    assert found == {"page": page, "ticket": ticket}


def test_an_outage_pages_within_minutes() -> None:
    """Of 99.9 %, ten requests a second, all of which fail: the long window of an hour is over 1.44 % in a minute."""
    before = steady(0.0, 24, per_minute=600)
    outage = [row(NOON + 60 * n, 0, 600) for n in range(6)]
    since = [n for n in range(1, 7) if told(_after(before, outage[:n], n))["page"]]
    assert since[0] == 1


def _after(before: list[SeriesRow], outage: list[SeriesRow], minutes: int) -> Stood:
    now = NOON + 60 * minutes
    return standing(AVAILABLE, *before, *outage, told=now, now=now)


def test_it_is_over_soon_after_the_outage_is() -> None:
    """The long window still has it, the short one does not."""
    rows = [*[row(NOON - 1800 + 60 * n, 0, 600) for n in range(20)], *steady(0.0, 1 / 6, per_minute=600)]
    found = standing(AVAILABLE, *rows)
    assert (found.burn(3600) or 0) > 14.4
    assert found.burn(300) == 0
    # The pair of six hours and thirty minutes still holds.
    assert told(found)["page"] is True
    later = NOON + 1800
    rows += [row(NOON + 60 * n, 600) for n in range(30)]
    assert told(standing(AVAILABLE, *rows, told=later, now=later))["page"] is False


def test_a_single_failure_at_night_pages_nobody() -> None:
    found = standing(AVAILABLE, row(NOON - 7200, 1), row(NOON - 100, 1, 1))
    assert (found.burn(3600) or 0) > 300
    assert told(found) == {"page": False, "ticket": False}


def test_a_quiet_service_that_fails_again_and_again_does_page() -> None:
    rows = [row(NOON - 600 * n - 60, 0, 1) for n in range(20)]
    assert told(standing(AVAILABLE, *rows))["page"] is True


def test_what_nobody_has_told_yet_is_neither_good_nor_bad() -> None:
    rows = steady(0.5, 6)
    late = NOON + 3 * HOUR + 60
    found = standing(AVAILABLE, *rows, told=NOON, now=late)
    assert found.counts[300] is None
    assert found.counts[3600] is None
    assert found.counts[21600] is None
    assert found.counts[86400] is not None
    assert told(found) == {"page": None, "ticket": None}


def test_nothing_was_ever_told() -> None:
    book = Book({"assistant": [AVAILABLE]})
    book.read(ForgetfulSeries(), NOON)
    found = stood(book, lambda *_: None, "assistant", AVAILABLE, NOON)
    assert found.budget_left is None
    assert set(found.burns.values()) == {None}
    assert told(found) == {"page": None, "ticket": None}


def test_nobody_asked() -> None:
    found = standing(AVAILABLE)
    assert found.whole == Count(0, 0)
    assert (found.budget_left, set(found.burns.values())) == (None, {None})
    assert told(found) == {"page": False, "ticket": False}


def test_between_the_limit_and_a_little_less_it_stays_as_it_is() -> None:
    # 0.28 % for a day: 2.8 times, between nine tenths of 3 and 3; and for three days at more than 1.
    rows = [row(NOON - 600 * n - 60, 9972, 28) for n in range(144)]
    rules = {rule.factor: rule for rule in rules_of(AVAILABLE)}
    found = standing(AVAILABLE, *rows)
    assert (found.burn(rules[3.0].long_s) or 0) == pytest.approx(2.8, rel=0.01)
    assert told(standing(msgspec.structs.replace(AVAILABLE, target=0.9971), *rows))["ticket"] is None


def test_faults_of_the_caller_do_not_count_and_those_of_capacity_do() -> None:
    mixed = row(
        NOON, 90, 1, refused=30, left=5, codes={"queue_full": 4, "upstream_rate_limited": 3, "invalid_json": 23}
    )
    assert counted(AVAILABLE, mixed) == Count(98, 8)


@given(st.lists(st.floats(1e-4, 1000), max_size=50), st.floats(0.001, 100))
def test_the_share_within_a_bound_is_exact_to_one_bucket(values: list[float], bound: float) -> None:
    sketch: dict[int, int] = {}
    for value in values:
        index = math.ceil(math.log(max(value, 1e-5)) / math.log(1.02))
        sketch[index] = sketch.get(index, 0) + 1
    made = msgspec.structs.replace(row(NOON, 0), duration=tuple(sorted(sketch.items())))
    found = counted(Objective(kind="latency", within_s=bound), made)
    assert found.total == len(values)
    assert sum(v > bound * 1.0201 for v in values) <= found.bad <= sum(v > bound / 1.0201 for v in values)


def test_latency() -> None:
    found = standing(FAST, *steady(0.5, 2))
    assert found.burn(3600) == pytest.approx(10)
    assert told(found)["page"] is True
    assert "50 % of requests took longer than 2 s" in text_of(found, "page")


def test_cost_is_a_mean() -> None:
    objective = Objective(kind="cost", dollars=0.01)
    cheap = [row(NOON - 60 * n - 60, 10, cost_nano=10 * 5_000_000) for n in range(60 * 24)]
    assert told(standing(objective, *cheap)) == {"ticket": False}
    assert standing(objective, *cheap).budget_left == pytest.approx(0.5)
    dear = [msgspec.structs.replace(each, cost_nano=10 * 20_000_000) for each in cheap]
    found = standing(objective, *dear)
    assert told(found) == {"ticket": True}
    assert "a request cost $0.02 on the mean; the objective is $0.01" in text_of(found, "ticket")
    few = [row(NOON - 60, 3, cost_nano=10**12)]
    assert told(standing(objective, *few)) == {"ticket": False}


@pytest.mark.parametrize(
    ("count", "holds"), [(Count(100, 30), True), (Count(100, 10), False), (Count(10, 9), False), (None, None)]
)
def test_quality_is_a_mean(count: Count | None, holds: bool | None) -> None:
    objective = Objective(kind="quality", target=0.8, metric="feedback")
    book = Book({"assistant": [objective]})
    found = stood(book, lambda service, metric, since: count, "assistant", objective, NOON)
    assert told(found) == {"ticket": holds}
    if holds:
        assert conditions(found)[0].kind == "quality"
        assert "the mean of 'feedback' was 0.7; the objective is 0.8" in text_of(found, "ticket")


def text_of(standing: Stood, severity: str) -> str:
    found: Condition = next(each for each in conditions(standing) if each.severity == severity)
    return found.text


def test_the_error_budget() -> None:
    # 30 days of 1,000 an hour, and one hour in which all failed: 1,000 of 720 bad ones that there may be.
    rows = [row(NOON - HOUR * n - 60, 1000) for n in range(719)] + [row(NOON - HOUR * 719, 0, 1000)]
    found = standing(AVAILABLE, *rows)
    assert found.whole == Count(720_000, 1000)
    assert found.budget_left == pytest.approx(1 - 1000 / 720)


def test_what_is_told_names_rate_budget_and_objective() -> None:
    found = conditions(standing(AVAILABLE, *steady(0.02, 24)))[0]
    assert found.id == "slo/assistant/availability/page"
    assert (found.value, found.limit) == (20.0, 14.4)
    assert found.text == (
        "assistant: in the last 1h 2 % of requests failed, 20 times what the objective allows (0.1 %). The error "
        "budget of 30 days is overspent by 1900 %."
    )


def test_a_promise_in_words() -> None:
    assert promise(FAST) == "95 % of requests are over within 2 s, over 30 days"
    assert promise(Objective(kind="cost", dollars=0.02)) == "A request costs at most $0.02 on the mean, over 30 days"
    assert FAST.title == "latency-2s"
    assert Objective(kind="first_chunk", within_s=0.8).title == "first_chunk-800ms"
    assert Objective(kind="cost", dollars=0.02).title == "cost-0.02usd"


@pytest.mark.parametrize("days", [1, 7, 30, 90])
def test_every_window_is_within_that_of_the_objective(days: int) -> None:
    objective = msgspec.structs.replace(AVAILABLE, window_days=days)
    assert max(lengths(objective)) <= days * DAY_S
