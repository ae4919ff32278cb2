"""Who gets which release: the same unit always the same, shares as they are said, and a new split moves no more than
it must."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.core.releases import WHOLE, Range, Segment
from penstock.routing.assignment import (
    MOST_RANGES,
    chosen,
    hashed,
    matches,
    place,
    placed,
    resplit,
    sampled,
    shares,
)

_NAMES = ("a", "b", "c", "d", "e")


@st.composite
def _splits(draw: st.DrawFn) -> dict[str, int]:
    cuts = sorted(draw(st.lists(st.integers(0, WHOLE), min_size=0, max_size=4)))
    names = draw(st.permutations(_NAMES))
    ends = [*cuts, WHOLE]
    return {name: end - begin for name, begin, end in zip(names, [0, *cuts], ends, strict=False)}


def _moved(before: tuple[Range, ...], after: tuple[Range, ...]) -> int:
    """How many places have another release."""
    ends = sorted({each.end for each in (*before, *after)})
    starts = [0, *ends[:-1]]
    return sum(
        end - begin for begin, end in zip(starts, ends, strict=True) if chosen(before, begin) != chosen(after, begin)
    )


@given(st.lists(_splits(), min_size=1, max_size=12))
def test_each_split_has_its_shares_and_moves_half_the_sum_of_differences(splits: list[dict[str, int]]) -> None:
    now: tuple[Range, ...] = (Range(WHOLE, "a"),)
    for wanted in splits:
        had, then = shares(now), resplit(now, wanted)
        assert shares(then) == {name: share for name, share in wanted.items() if share}
        differences = sum(abs(had.get(name, 0) - wanted.get(name, 0)) for name in {*had, *wanted})
        assert _moved(now, then) * 2 == differences
        ends = [each.end for each in then]
        assert ends == sorted(set(ends))
        assert ends[-1] == WHOLE
        assert all(left.release != right.release for left, right in pairwise(then))
        assert len(then) <= MOST_RANGES
        now = then


def test_a_canary_that_grows_stays_one_range() -> None:
    now: tuple[Range, ...] = (Range(WHOLE, "champion"),)
    for share in (10_000, 100_000, 500_000, 990_000):
        now = resplit(now, {"champion": WHOLE - share, "candidate": share})
        assert now == (Range(WHOLE - share, "champion"), Range(WHOLE, "candidate"))
    assert resplit(now, {"candidate": WHOLE}) == (Range(WHOLE, "candidate"),)


def test_a_split_of_too_many_pieces_is_laid_out_anew() -> None:
    size = WHOLE // 100
    ranges = tuple(Range((n + 1) * size, "ab"[n % 2]) for n in range(100))
    assert resplit(ranges, {"a": WHOLE // 2 + 1, "b": WHOLE // 2 - 1}) == (Range(500_001, "a"), Range(WHOLE, "b"))


@pytest.mark.parametrize("wanted", [{"a": WHOLE - 1}, {"a": WHOLE, "b": 1}, {"a": WHOLE + 5, "b": -5}, {}], ids=str)
def test_shares_that_do_not_add_up_are_refused(wanted: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="add up"):
        resplit((Range(WHOLE, "a"),), wanted)


@pytest.mark.parametrize(
    "ranges",
    [(), (Range(5, "a"),), (Range(5, "a"), Range(5, "b"), Range(WHOLE, "c"))],
    ids=["none", "short", "empty"],
)
def test_ranges_that_are_none_are_refused(ranges: tuple[Range, ...]) -> None:
    with pytest.raises(ValueError, match="The ranges must"):
        resplit(ranges, {"a": WHOLE})


def test_a_million_assignments_have_the_shares_of_the_split_and_a_change_moves_half_the_differences() -> None:
    before = resplit((Range(WHOLE, "old"),), {"old": 890_000, "new": 100_000, "third": 10_000})
    wanted = {"old": 500_000, "new": 480_000, "third": 20_000}
    after = resplit(before, wanted)
    places = [place("salt-1", f"user-{n}") for n in range(1_000_000)]
    first = [chosen(before, at) for at in places]
    second = [chosen(after, at) for at in places]
    for ranges, got in ((before, Counter(first)), (after, Counter(second))):
        for release, share in shares(ranges).items():
            assert abs(got[release] - share) <= 2_000
    moved = sum(one != other for one, other in zip(first, second, strict=True))
    assert abs(moved - 390_000) <= 2_000
    # Whoever leaves a release is of one that shrinks, whoever joins one of one that grows.
    assert {one for one, other in zip(first, second, strict=True) if one != other} == {"old"}
    assert places[:1000] == [place("salt-1", f"user-{n}") for n in range(1000)]


def test_places_are_the_same_in_every_process_and_version() -> None:
    assert [place("salt", unit) for unit in ("", "ada", "Grüße")] == [775_355, 199_725, 226_233]


def test_a_new_salt_assigns_anew_and_the_sample_is_fair_in_every_range() -> None:
    units = [hashed("salt", str(n)) for n in range(50_000)]
    tenth = [n for n, unit in enumerate(units) if placed(unit) < 100_000]
    assert abs(sum(place("other", str(n)) < 100_000 for n in tenth) - 500) < 100
    assert abs(sum(sampled(units[n]) < 500_000 for n in tenth) - 2_500) < 200


def test_a_salt_too_long_is_refused() -> None:
    with pytest.raises(ValueError, match="key"):
        place("s" * 65, "ada")


@pytest.mark.parametrize(
    ("segment", "is_in"),
    [
        (Segment(), True),
        (Segment(keys=("k1", "k2")), True),
        (Segment(keys=("k2",)), False),
        (Segment(projects=("p",)), True),
        (Segment(projects=("q",)), False),
        (Segment(headers=(("x-beta", "on"),)), True),
        (Segment(headers=(("x-beta", "off"), ("x-plan", "gold"))), True),
        (Segment(headers=(("x-beta", "off"),)), False),
        (Segment(headers=(("x-none", "on"),)), False),
        (Segment(headers=(("x-beta", "on"),), keys=("k2",)), False),
    ],
    ids=str,
)
def test_a_segment_matches_when_each_kind_does_by_any_of_its_values(segment: Segment, is_in: bool) -> None:
    assert matches(segment, {b"x-beta": b" on ", b"x-plan": b"gold"}, "k1", "p") is is_in
