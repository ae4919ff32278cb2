"""The model and the controller, by themselves."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.caches.semantic import control
from penstock.caches.semantic.control import Limits, Optimism, Standing
from penstock.caches.semantic.features import COUNT
from penstock.caches.semantic.model import Lesson, Model, chances

WIDE = COUNT + 4


def lesson(rows: int, seed: int, before: Model | None = None, weigh: float = 1.0) -> Lesson:
    """The first feature bends at 0.5, and every fourth label is chance."""
    random = np.random.default_rng(seed)
    found = random.random((rows, WIDE)).astype(np.float16)
    same = np.where(random.random(rows) < 0.25, random.random(rows) < 0.5, found[:, 0] > 0.5)
    return Lesson(found, same.astype(bool), np.full(rows, weigh, np.float32), rows, before)


def test_it_learns_and_is_calibrated() -> None:
    model = lesson(4000, 1).learnt()
    test = lesson(4000, 2)
    chance = chances(model.scores(test.rows))
    assert ((chance > 0.5) == test.same).mean() > 0.82
    for low in (0.1, 0.7):
        some = (chance > low) & (chance < low + 0.2)
        assert some.sum() > 100
        assert chance[some].mean() == pytest.approx(test.same[some].mean(), abs=0.08)


def test_from_where_it_was_it_comes_to_the_same() -> None:
    data = lesson(1500, 3)
    cold = data.learnt()
    warm = Lesson(data.rows, data.same, data.weights, data.labels, cold).learnt()
    assert np.abs(cold.scores(data.rows) - warm.scores(data.rows)).max() < 0.05


def test_a_weight_of_two_is_the_label_twice() -> None:
    data = lesson(600, 4)
    weighed = Lesson(data.rows, data.same, np.full(600, 2.0, np.float32), 600, None).learnt()
    double = Lesson(np.tile(data.rows, (2, 1)), np.tile(data.same, 2), np.ones(1200, np.float32), 1200, None).learnt()
    assert np.abs(weighed.scores(data.rows) - double.scores(data.rows)).max() < 0.05


@pytest.mark.parametrize("same", [True, False])
def test_labels_of_one_kind_and_equal_rows_do_no_harm(same: bool) -> None:
    rows = np.ones((300, WIDE), np.float16)
    model = Lesson(rows, np.full(300, same), np.ones(300, np.float32), 300, None).learnt()
    assert np.isfinite(model.scores(rows)).all()
    assert (chances(model.scores(rows)) > 0.5).all() == same


def test_what_can_be_told_apart_perfectly_converges() -> None:
    rows = np.random.default_rng(5).random((400, WIDE)).astype(np.float16)
    model = Lesson(rows, rows[:, 0] > 0.5, np.ones(400, np.float32), 400, None).learnt()
    assert ((model.scores(rows) > 0) == (rows[:, 0] > 0.5)).mean() > 0.97


def test_audits_begin_with_all_and_never_become_more() -> None:
    for max_error in (0.01, 0.02, 0.05):
        limits = Limits(max_error)
        shares = [control.audited(limits, requests) for requests in range(0, 1_000_000, 500)]
        assert shares[0] == 1.0
        assert shares == sorted(shares, reverse=True)
        assert shares[-1] == 0.05


def test_the_aim_is_higher_the_less_was_used() -> None:
    limits = Limits(0.02)
    aims = [control.aim(limits, Standing(10_000, 1000, upper, upper * 0.8), 1.0) for upper in range(0, 600, 20)]
    assert aims == sorted(aims, reverse=True)
    assert aims[0] <= 1.2 * 0.02
    assert aims[-1] == 0.0
    hopeful = control.aim(limits, Standing(10_000, 1000, 150, 120), 2.0)
    assert hopeful == pytest.approx(control.aim(limits, Standing(10_000, 1000, 150, 120), 1.0) / 2)


@given(st.lists(st.floats(0, 1, width=32), max_size=200), st.floats(0, 0.1))
def test_what_is_below_the_threshold_is_expected_to_be_wrong_as_often_as_allowed(
    risks: list[float], share: float
) -> None:
    given_risks = np.sort(np.array(risks, np.float32))
    limit = control.threshold(Limits(0.02), given_risks, share, 1.0)
    assert limit <= 0.5
    taken = given_risks[given_risks < limit]
    assert taken.sum() <= share * len(given_risks) + 1e-4


def test_a_ceiling_per_hit_lowers_the_threshold() -> None:
    risks = np.linspace(0, 1, 101, dtype=np.float32)
    free = control.threshold(Limits(0.5), risks, 0.05, 1.0)
    bound = control.threshold(Limits(0.5, max_wrong_per_hit=0.05), risks, 0.05, 1.0)
    assert bound < free
    assert risks[risks <= bound].mean() <= 0.05


def test_optimism_is_what_was_found_over_what_was_predicted() -> None:
    optimism = Optimism()
    assert optimism.ratio() == 1.0
    for at in range(2000):
        optimism.hit(0.1, 1.0 if at % 5 == 0 else 0.0)
    assert optimism.ratio() == pytest.approx(2.0, abs=0.1)
