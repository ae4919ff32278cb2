"""Lines of charts: every step is there, and what nobody knows is a gap."""

from __future__ import annotations

import json

import pytest

from penstock.core.errors import PenstockError
from penstock.edge.console.charting import MOST_LINES, STEP_S, WINDOW_S, Span, chart, check, span
from penstock.edge.console.console import Console
from tests.edge.console.canned import NOW, Admin, actor, ask, point, spread, told

OVER = Span(1000.0, 1060.0, 10.0)


def test_a_step_without_requests_is_nothing_where_all_is_known_and_a_gap_where_not() -> None:
    points = [point(1010.0, 10.0, requests=30, known=True)]
    found = chart(points, ["requests/s", "duration.p95", "failed/requests"], OVER, told=1040.0)
    by = {line.draw: line.values for line in found.lines}
    assert by["requests/s"] == (0.0, 3.0, 0.0, 0.0, None, None)
    assert by["duration.p95"] == (None, 2529.0, None, None, None, None)
    assert by["failed/requests"][0] is None
    assert by["failed/requests"][1] == pytest.approx(31 / 30)
    assert found.unknown == ((1040.0, 1060.0),)


def test_counts_of_a_step_that_is_not_over_are_drawn_partly_where_that_is_asked_for() -> None:
    points = [point(1050.0, 10.0, requests=30, known=False)]
    draws = ["requests", "requests/s", "duration.p95"]
    found = chart(points, draws, OVER, told=1040.0, partly=True)
    assert [line.values[4:] for line in found.lines] == [(None, 30.0), (None, None), (None, None)]
    assert found.unknown == ((1040.0, 1060.0),)
    assert chart(points, draws, OVER, told=1040.0).lines[0].values[5] is None


def test_where_nothing_is_told_everything_is_unknown() -> None:
    found = chart([], ["requests"], OVER, told=None)
    assert found.lines[0].values == (None,) * 6
    assert found.unknown == ((1000.0, 1060.0),)


def test_a_point_that_is_not_known_yet_is_a_gap_though_it_has_numbers() -> None:
    found = chart([point(1020.0, 10.0, known=False)], ["requests"], OVER, told=1020.0)
    assert found.lines[0].values == (0.0, 0.0, None, None, None, None)


def test_only_the_busiest_groups_are_drawn_and_the_rest_is_counted() -> None:
    points = [point(1000.0, 10.0, {"service": f"s{n}"}, requests=n) for n in range(MOST_LINES + 3)]
    found = chart(points, ["requests"], OVER, told=1060.0)
    assert found.left_out == 3
    assert {line.group["service"] for line in found.lines} == {f"s{n}" for n in range(3, MOST_LINES + 3)}


@pytest.mark.parametrize("window", STEP_S)
def test_a_window_is_whole_steps_that_end_with_now(window: str) -> None:
    found = span(window, None, None, NOW + 3.3)
    assert found.since % found.step_s == 0
    assert found.until % found.step_s == 0
    assert found.until - found.step_s <= NOW + 3.3 <= found.until
    assert WINDOW_S[window] <= found.until - found.since <= WINDOW_S[window] + 2 * found.step_s
    assert 60 <= (found.until - found.since) / found.step_s <= 250


def test_a_time_that_is_said_has_steps_that_fit() -> None:
    assert span("", 0.0, 600.0, NOW).step_s == 10.0
    assert span("", 0.0, 86400.0, NOW).step_s == 600.0
    assert span("", NOW - 600, None, NOW).until == NOW
    for since, until, window in ((10.0, 10.0, ""), (None, None, "2h")):
        with pytest.raises(PenstockError):
            span(window, since, until, NOW)


@pytest.mark.parametrize(
    "draw", ["", "at", "group", "duration", "duration.max", "requests/", "/s", "requests/x", "__class__", "a" * 99]
)
def test_what_cannot_be_drawn_is_refused(draw: str) -> None:
    with pytest.raises(PenstockError, match="cannot draw"):
        check(draw)


@pytest.mark.parametrize(
    "draw", ["requests", "requests/s", "failed/requests", "duration.p99", "tokens_per_s", "cost"]
)
def test_what_points_have_is_drawn(draw: str) -> None:
    check(draw)


def test_a_spread_that_was_not_measured_is_a_gap() -> None:
    points = [point(1000.0, 10.0, duration=None), point(1010.0, 10.0, duration=spread(50.0))]
    assert chart(points, ["duration.p50"], OVER, told=1060.0).lines[0].values[:2] == (None, 50.0)


async def test_a_chart_is_asked_in_the_name_of_whoever_looks() -> None:
    admin = Admin(told())
    page = Console(admin.administer, now=lambda: NOW)
    answer = await page.answer(ask("/data/series", window="15m", draw="requests/s", service="chat", by="release"))
    found = json.loads(answer.body)
    assert (found["step_s"], len(found["at"]), len(found["changes"])) == (10.0, 90, 4)
    asked = next(each for each in admin.asked if each.operation == "series.list")
    assert asked.query == {
        "since": "1789999100", "until": "1790000000", "step": "10", "service": "chat", "by": "release",
    }  # fmt: skip
    refused = await page.answer(ask("/data/series", window="15m", draw="requests;drop"))
    assert refused.status == 400
    assert json.loads(refused.body)["error"]["param"] == "draw"
    assert (await page.answer(ask("/data/series", who=actor("billing", everywhere=False)))).status == 200
