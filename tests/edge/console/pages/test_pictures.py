"""The numbers that pictures are drawn from: all of them inside, none of them made up."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.control.accounts.rollout_seen import CoursePoint, GateCourse
from penstock.edge.console.pages import bars, columns
from penstock.edge.console.pages.evidence import BOTTOM, LEFT, RIGHT, TOP, pictures, stands
from penstock.edge.console.pages.saying import LONGEST, asked_of, reply_of
from tests.edge.console.canned import NOW
from tests.edge.console.pages.paper_served import course, decision, rollout, standing

replace = msgspec.structs.replace
difference = st.floats(-1.0, 1.0)


@st.composite
def points(draw: st.DrawFn) -> tuple[CoursePoint, ...]:
    units, found = 0, []
    for each in range(draw(st.integers(0, 12))):
        units += draw(st.integers(1, 400))
        low, middle, high = sorted(draw(st.tuples(difference, difference, difference)))
        found.append(CoursePoint(units=units, at=NOW - 2000 + each, difference=middle, low=low, high=high))
    return tuple(found)


@given(points(), st.floats(0.001, 0.9), st.none() | st.integers(1, 100_000))
def test_all_of_a_picture_is_inside_it(found: tuple[CoursePoint, ...], margin: float, more: int | None) -> None:
    view = rollout(standings=(standing(margin=margin, more_units=more),))
    view = replace(view, gates=(replace(view.gates[0], margin=margin),))
    (picture,) = pictures(view, (GateCourse(metric="success", margin=margin, points=found),), NOW)
    places = [tuple(map(float, each.split(","))) for each in f"{picture.band} {picture.line}".split()]
    assert all(LEFT <= x <= RIGHT and TOP <= y <= BOTTOM for x, y in places)
    # The margin is always seen, below no difference.
    assert TOP < picture.zero_y < picture.margin_y < BOTTOM
    assert all(LEFT <= each.time_x <= RIGHT for each in picture.marks)
    assert all(each.x is None or LEFT <= each.x <= RIGHT for each in picture.marks)
    assert all(each.x >= LEFT and each.x + each.width <= RIGHT + 0.1 for each in picture.shares)
    if picture.expected_x is not None:
        assert picture.now_x is not None
        assert picture.now_x <= picture.expected_x <= RIGHT


def test_a_picture_ends_with_what_is_known_now_and_says_how_many_more() -> None:
    success, latency = pictures(rollout(), course().gates, NOW)
    assert success.expected == "about 260 more samples"
    assert "about 260 more are likely to settle it" in success.sentence
    assert len(success.line.split()) == 41
    assert (latency.tone, latency.expected, latency.expected_x) == ("good", "", None)
    assert [each.text for each in success.shares] == ["1 %", "10 %"]
    assert [each.what for each in success.marks] == ["start", "load", "step"]


def test_where_nothing_is_known_nothing_is_drawn() -> None:
    for view in (rollout(standings=()), rollout(standings=(standing(candidate_units=0, champion_units=0),))):
        picture = pictures(view, (), NOW)[0]
        assert (picture.band, picture.line, picture.now_x) == ("", "", None)
        assert picture.sentence == "Nothing is known of success yet: no sample of it has come."
    assert "still being loaded" in pictures(rollout(standings=(), state="loading"), (), NOW)[0].sentence


@pytest.mark.parametrize(
    ("known", "says", "tone"),
    [
        ({"e_worse": 41.0}, "is worse: 0.962 against 0.968", "bad"),
        ({"e_better": 21.0}, "is not worse by the margin of 0.05", "good"),
        ({"candidate_units": 12}, "has 12 of the 50 samples", "plain"),
        ({"more_units": None}, "between −0.062 and +0.041 after 412 samples.", "warn"),
    ],
)
def test_one_sentence_for_every_way_that_a_gate_stands(known: dict[str, object], says: str, tone: str) -> None:
    picture = pictures(rollout(standings=(standing(**known),)), (), NOW)[0]
    assert says in picture.sentence
    assert picture.tone == tone


def test_one_sentence_for_the_rollout() -> None:
    assert stands(rollout()) == (
        "Step 2 of 3, 10 %: latency is good enough, success may still go either way, and about 260 more samples are "
        "likely to settle it."
    )
    assert stands(rollout(standings=())) == rollout().reason
    ended = rollout(state="rolled_back", ended_at=NOW, reason="success is worse: it was certain.")
    assert stands(ended) == "success is worse: it was certain."
    assert "was not settled" in pictures(ended, (), NOW)[0].sentence


def test_decisions_that_lie_close_share_a_label() -> None:
    close = tuple(decision(number, 100 - number, "hold", "x") for number in range(1, 8))
    marks = pictures(rollout(decisions=close), (), NOW)[0].marks
    assert [each.labelled for each in marks] == [True] + [False] * 6


@given(st.dictionaries(st.text(max_size=5), st.floats(0, 100), max_size=12))
def test_slices_lie_side_by_side(shares: dict[str, float]) -> None:
    found = bars.slices(shares)
    at = 0.0
    for each in found:
        assert each.x == pytest.approx(at, abs=0.5)
        at = each.x + each.width
    assert at <= bars.WIDTH + 0.5


@given(st.floats(0, 1e9), st.floats(0, 1e9))
def test_a_bar_is_never_longer_than_its_bound(spent: float, amount: float) -> None:
    bar = bars.used(spent, amount, (80,))
    assert 0 <= bar.width <= bars.WIDTH
    if amount:
        assert (bar.tone == "bad") == (spent / amount >= 1)


def test_nothing_may_be_spent_of_nothing() -> None:
    assert bars.used(0, 0).tone == "good"
    assert bars.used(1, 0).tone == "bad"


amounts = st.tuples(st.integers(0, 29), st.sampled_from("abcdefghijkl"), st.floats(0, 1e6), st.integers(0, 10**6))


@given(st.lists(amounts, max_size=60))
def test_columns_stand_on_the_ground_and_stay_in_the_picture(found: list[tuple[int, str, float, int]]) -> None:
    day = 86400.0
    rows = [columns.Column(NOW + place * day, group, amount, requests) for place, group, amount, requests in found]
    chart = columns.columns(rows, begin=NOW, step=day, count=30)
    assert len(chart.legend) <= bars.TONES
    for each in chart.blocks:
        assert each.y >= columns.TOP - 1
        assert each.y + each.height <= columns.BOTTOM + 0.51
        assert columns.LEFT <= each.x <= each.x + each.width <= columns.WIDTH
    assert chart.amount == any(row.amount for row in rows)


def test_what_was_said_is_found_in_every_shape() -> None:
    raw = msgspec.Raw
    parts = (
        b'{"messages":[{"role":"user","content":[{"type":"text","text":"Hi"}]},{"role":"assistant","content":"Y"}]}'
    )
    assert asked_of(raw(parts)) == "Hi"
    assert asked_of(raw(b'{"input":"to embed"}')) == "to embed"
    assert asked_of(raw(b"no json")) == ""
    assert (
        reply_of(raw(b'[{"index":0,"content":{"text":"one"}},{"index":1,"refusal":{"text":"two"}}]')) == "one\n\ntwo"
    )
    assert reply_of(raw(b"null")) == ""
    assert len(reply_of(raw(msgspec.json.encode([{"content": "x" * 9000}])))) == LONGEST + 2
