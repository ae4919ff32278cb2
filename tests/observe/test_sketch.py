"""Sketches tell values within 1 %, and add up however they were cut."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.core.series import LEAST_S
from penstock.observe.sketch import (
    MOST_S,
    count_of,
    index_of,
    merged,
    quantile,
    quantiles,
    share_within,
    sketch_of,
    value_of,
)

SECONDS = st.floats(LEAST_S, 86_400.0)
SHARES = st.floats(0.0, 1.0)


@given(SECONDS)
def test_a_value_is_told_within_a_percent(seconds: float) -> None:
    assert value_of(index_of(seconds)) == pytest.approx(seconds, rel=0.0100001)


@given(st.lists(SECONDS, min_size=1, max_size=200), SHARES)
def test_a_quantile_is_within_a_percent_of_the_true_one(values: list[float], share: float) -> None:
    true = sorted(values)[math.floor(share * (len(values) - 1))]
    assert quantile(sketch_of(values), share) == pytest.approx(true, rel=0.0100001)


@given(st.lists(st.lists(SECONDS, max_size=30), max_size=5), st.randoms())
def test_it_does_not_matter_how_values_were_cut_into_sketches(parts: list[list[float]], mixed: object) -> None:
    whole = sketch_of(value for part in parts for value in part)
    sketches = [sketch_of(part) for part in parts]
    assert merged(sketches) == merged(reversed(sketches)) == whole
    assert merged([merged(sketches[:2]), merged(sketches[2:])]) == whole
    assert merged([merged(sketches[:1]), *sketches[1:]]) == whole
    assert count_of(whole) == sum(map(len, parts))


@given(st.lists(SECONDS, min_size=1, max_size=50), st.lists(SHARES, max_size=5))
def test_several_quantiles_are_those_asked_for_one_by_one(values: list[float], shares: list[float]) -> None:
    sketch = sketch_of(values)
    assert list(quantiles(sketch, sorted(shares))) == [quantile(sketch, share) for share in sorted(shares)]


@given(st.lists(SECONDS, min_size=1, max_size=50), SECONDS)
def test_the_share_within_a_limit_errs_only_close_to_it(values: list[float], limit: float) -> None:
    share = share_within(sketch_of(values), limit)
    assert share is not None
    assert sum(value <= limit / 1.0201 for value in values) <= share * len(values) + 1e-6
    assert share * len(values) <= sum(value <= limit * 1.0201 for value in values) + 1e-6


def test_nothing_has_no_quantile() -> None:
    assert quantile((), 0.5) is None
    assert share_within((), 1.0) is None
    assert quantiles((), (0.5, 0.9)) == ()
    assert merged([(), ()]) == ()


def test_absurd_values_count_as_the_nearest_that_are_not() -> None:
    assert sketch_of([0.0, -1.0, math.nan, LEAST_S]) == ((index_of(LEAST_S), 4),)
    assert sketch_of([math.inf, 1e300]) == ((index_of(MOST_S), 2),)
