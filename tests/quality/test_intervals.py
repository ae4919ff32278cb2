"""Between what a difference lies."""

from __future__ import annotations

import math
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as some

from penstock.quality.betting import Wealth, stakes
from penstock.quality.intervals import interval

MARGIN = 0.05


def _interval(seen: list[float], alpha: float = 0.05) -> tuple[float, float]:
    return interval(seen, [0.2] * len(seen), margin=MARGIN, design=1.0, low_alpha=alpha, high_alpha=alpha)


@settings(max_examples=60, deadline=None)
@given(mean=some.sampled_from([-0.3, -0.1, 0.0, 0.1]), count=some.integers(1, 400), seed=some.integers(0, 99))
def test_the_ends_lie_on_the_side_that_the_bets_of_the_gates_say(mean: float, count: int, seed: int) -> None:
    random = Random(seed)
    seen = [float(random.random() < 0.5 + mean / 2) - float(random.random() < 0.5 - mean / 2) for _ in range(count)]
    worse, better = Wealth(), Wealth()
    for each in seen:
        worse.bet(stakes(0.2, MARGIN, 1.0), -each)
        better.bet(stakes(0.2, MARGIN, 1.0 - MARGIN), each + MARGIN)

    low, high = _interval(seen)

    enough = math.log(20)
    # The ends are found to within 2 / 2**16, within which a bet may be either way.
    assert (high < 0) == (worse.log(1.0) >= enough) or abs(high) < 1e-4
    assert (low > -MARGIN) == (better.log(1.0) >= enough) or abs(low + MARGIN) < 1e-4
    assert -1 <= low < high <= 1


def test_more_pairs_and_a_weaker_claim_make_it_narrower() -> None:
    seen = [0.5, -0.5] * 300

    few, many, sure = _interval(seen[:100]), _interval(seen), _interval(seen, alpha=0.001)

    assert few[0] < many[0] < 0 < many[1] < few[1]
    assert sure[0] < many[0]
    assert many[1] < sure[1]
    assert _interval([]) == (-1, 1)


def test_pairs_that_tell_less_make_it_wider() -> None:
    seen = [0.5, -0.5] * 300
    alone = _interval(seen)
    repeated = interval(seen, [0.2] * 600, margin=MARGIN, design=3.0, low_alpha=0.05, high_alpha=0.05)

    assert repeated[0] < alone[0]
    assert alone[1] < repeated[1]


def test_the_true_difference_is_hardly_ever_left_out_however_often_one_looks() -> None:
    left_out = 0
    for seed in range(60):
        random = Random(seed)
        seen = [float(random.random() < 0.8) - float(random.random() < 0.7) for _ in range(400)]
        ends = [_interval(seen[:count]) for count in range(20, 401, 20)]
        left_out += any(not low <= 0.1 <= high for low, high in ends)

    # Of 60 that leave it out in at most a tenth of the cases, 14 or more do once in 1,000 times.
    assert left_out <= 13


def test_what_the_first_pairs_are_is_no_more_than_they_are() -> None:
    low, high = _interval([-1.0])

    assert low == -1
    assert high == pytest.approx(1.0, abs=1e-3)
