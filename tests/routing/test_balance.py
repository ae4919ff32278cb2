"""Which replica is best, policy by policy."""

from __future__ import annotations

from collections import Counter
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.routing import balance
from penstock.routing.balance import Candidate

THREE = (Candidate("a", 30.0), Candidate("b", 10.0), Candidate("c", 20.0))

candidates = st.lists(
    st.builds(
        Candidate,
        id=st.uuids().map(str),
        work=st.none() | st.floats(0, 1e6),
        weight=st.floats(0.1, 10),
        share=st.floats(0.05, 1),
    ),
    min_size=1,
    max_size=8,
)


@given(candidates, st.integers(0, 1000), st.text(max_size=5))
def test_every_policy_orders_every_candidate_once(some: list[Candidate], turn: int, session: str) -> None:
    everyone = list(range(len(some)))
    scores = {candidate.id: float(len(candidate.id)) for candidate in some}
    for order in (
        balance.in_turn(some, turn),
        balance.weighted(some, {}),
        balance.least_work(some, turn),
        balance.two_choices(some, Random(turn)),
        balance.affine(some, session, 1.25, 100.0, turn),
        balance.scored(some, scores, 1.25, 100.0, turn),
    ):
        assert sorted(order) == everyone


def test_round_robin_takes_turns() -> None:
    assert [balance.in_turn(THREE, turn)[0] for turn in range(5)] == [0, 1, 2, 0, 1]


def test_weights_are_met_exactly_and_evenly() -> None:
    some = (Candidate("a", 0, weight=5), Candidate("b", 0, weight=1), Candidate("c", 0, weight=1))
    credits: dict[str, float] = {}
    firsts = [balance.weighted(some, credits)[0] for _ in range(14)]
    assert firsts == [0, 0, 1, 0, 2, 0, 0] * 2


def test_least_work_is_first() -> None:
    assert balance.least_work(THREE, 0) == [1, 2, 0]


def test_equals_take_turns() -> None:
    idle = (Candidate("a", 0), Candidate("b", 0), Candidate("c", 0))
    assert [balance.least_work(idle, turn)[0] for turn in range(4)] == [0, 1, 2, 0]


def test_what_is_not_known_is_never_taken_for_idle() -> None:
    assert balance.least_work((Candidate("a", None), Candidate("b", 10.0), Candidate("c", 20.0)), 1)[0] == 1
    assert balance.two_choices((Candidate("a", None), Candidate("b", 10.0)), Random(1))[0] == 1


def test_who_comes_back_counts_as_busier() -> None:
    assert balance.least_work((Candidate("a", 10.0, share=0.1), Candidate("b", 50.0)), 0)[0] == 1


def test_two_choices_never_takes_the_busiest() -> None:
    rng = Random(7)
    firsts = Counter(balance.two_choices(THREE, rng)[0] for _ in range(600))
    assert firsts[0] == 0
    assert firsts[1] > firsts[2] > 0


def test_a_session_stays_and_moves_alone_when_its_replica_goes() -> None:
    some = [Candidate(str(number), 0.0) for number in range(8)]
    before = {s: some[balance.affine(some, f"session-{s}", 1.25, 10.0, 0)[0]].id for s in range(400)}
    less = some[:3] + some[4:]
    moved = [s for s in before if less[balance.affine(less, f"session-{s}", 1.25, 10.0, 0)[0]].id != before[s]]
    assert {before[s] for s in moved} == {"3"}
    assert max(Counter(before.values()).values()) < 90


def test_a_busy_home_is_left() -> None:
    some = [Candidate("a", 0.0), Candidate("b", 0.0), Candidate("c", 0.0)]
    home = balance.affine(some, "s", 1.25, 10.0, 0)[0]
    busy = [Candidate(c.id, 1000.0 if place == home else 10.0) for place, c in enumerate(some)]
    assert balance.affine(busy, "s", 1.25, 10.0, 0)[0] != home


def test_without_a_session_the_least_busy() -> None:
    assert balance.affine(THREE, "", 1.25, 0.0, 0)[0] == 1


@pytest.mark.parametrize(("scores", "first"), [({"a": 5, "b": 1, "c": 1}, 0), ({"a": 1, "b": 1, "c": 9}, 2)])
def test_the_best_score_unless_too_busy(scores: dict[str, float], first: int) -> None:
    assert balance.scored(THREE, scores, 2.0, 0.0, 0)[0] == first
    crowded = [Candidate(c.id, 1e6 if place == first else 10.0) for place, c in enumerate(THREE)]
    assert balance.scored(crowded, scores, 2.0, 0.0, 0)[0] != first
