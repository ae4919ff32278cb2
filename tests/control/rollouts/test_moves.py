"""What becomes of a rollout by itself."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from penstock.control.rollouts.moves import LOAD_WITHIN_S, Verdict, decide
from penstock.core.releases import ENDED, WHOLE, Segment, Split, Step, Warm
from penstock.routing.assignment import shares
from tests.control.rollouts.parts import (
    HALF_READY,
    NEW,
    NOW,
    OLD,
    READY,
    STEPS,
    evidence,
    plan,
    rollout,
    split_of,
    told,
    verdict,
)

DAY = 86400.0


def test_nobody_gets_the_candidate_before_every_gateway_has_it() -> None:
    loading = rollout("loading", decisions=1)
    split = split_of(loading)
    assert shares(split.ranges) == {OLD: WHOLE}
    for standing in ({}, HALF_READY):
        assert decide(loading, split, Verdict(), standing, NOW + 5) is None
    move = decide(loading, split, Verdict(), READY, NOW + 5)
    assert told(move) == ("load", "running")
    assert move is not None
    assert move.split is not None
    assert shares(move.split.ranges) == {OLD: 990_000, NEW: 10_000}
    after = move.rollouts[0]
    assert (after.step, after.since, after.paused_s, after.decisions) == (0, NOW + 5, 5.0, 2)


def test_a_candidate_that_does_not_load_has_failed_with_who_lacks_it() -> None:
    loading = rollout("loading")
    assert decide(loading, split_of(loading), Verdict(), HALF_READY, NOW + LOAD_WITHIN_S) is None
    move = decide(loading, split_of(loading), Verdict(), HALF_READY, NOW + LOAD_WITHIN_S + 1)
    assert told(move) == ("fail", "failed")
    assert move is not None
    assert move.split is not None
    assert "ready on 1 of 2 gateways" in move.decisions[0].reason
    assert move.split.rollout == ""
    assert shares(move.split.ranges) == {OLD: WHOLE}


def test_a_step_takes_its_time_and_its_samples_by_what_was_heard() -> None:
    first, second = rollout(), rollout(step=1)
    # The clock says that the minute is over, and no score since its end has come.
    assert decide(first, split_of(first), verdict(heard=59.9), READY, NOW + 900) is None
    move = decide(first, split_of(first), verdict(heard=60.0), READY, NOW + 61)
    assert told(move) == ("step", "running")
    assert move is not None
    assert move.split is not None
    assert shares(move.split.ranges) == {OLD: 900_000, NEW: 100_000}
    assert move.rollouts[0].step == 1
    assert decide(second, split_of(second), verdict(heard=60, samples=49), READY, NOW + 61) is None
    assert told(decide(second, split_of(second), verdict(heard=60, samples=50), READY, NOW + 61))[0] == "step"


def test_without_gates_time_alone_counts() -> None:
    first = rollout(plan_=plan(gates=()))
    assert decide(first, split_of(first), verdict("promote"), READY, NOW + 59) is None
    assert told(decide(first, split_of(first), verdict("promote"), READY, NOW + 60))[0] == "step"


def test_what_is_proven_skips_samples_and_never_time_nor_steps() -> None:
    second, last = rollout(step=1), rollout(step=2)
    proven = verdict("promote", heard=60, samples=10)
    assert decide(second, split_of(second), verdict("promote", heard=59), READY, NOW + 61) is None
    assert told(decide(second, split_of(second), proven, READY, NOW + 61)) == ("step", "running")
    move = decide(last, split_of(last), replace(proven, evidence=evidence("x"), scored_to=7), READY, NOW + 61)
    assert told(move) == ("promote", "promoted")
    assert move is not None
    assert move.split is not None
    assert shares(move.split.ranges) == {NEW: WHOLE}
    assert move.split.warm == (Warm(OLD, NOW + 61 + DAY),)
    assert (move.split.rollout, move.rollouts[0].ended_at, move.rollouts[0].scored_to) == ("", NOW + 61, 7)
    assert (move.decisions[0].evidence, move.decisions[0].reason) == (evidence("x"), "it says promote")


@pytest.mark.parametrize("state", ["running", "paused", "asking"])
@pytest.mark.parametrize(
    ("says", "expected"), [("rollback", ("rollback", "rolled_back")), ("stop", ("fail", "failed"))]
)
def test_what_is_worse_is_taken_out_whatever_a_person_is_at(state: str, says: str, expected: tuple[str, str]) -> None:
    here = rollout(state, 1)
    move = decide(here, split_of(here), verdict(says), READY, NOW + 1)
    assert told(move) == expected
    assert move is not None
    assert move.split is not None
    assert shares(move.split.ranges) == {OLD: WHOLE}
    assert (move.split.rollout, move.split.mirror, move.rollouts[0].reason) == ("", None, f"it says {says}")


@pytest.mark.parametrize("state", ["paused", "asking"])
@pytest.mark.parametrize("says", ["hold", "promote", "over"])
def test_nothing_else_moves_while_a_person_is_at_it(state: str, says: str) -> None:
    here = rollout(state, 2)
    assert decide(here, split_of(here), verdict(says, heard=1e6, samples=10**6), READY, NOW + 30 * DAY) is None


def test_promotion_asks_where_the_plan_says_so() -> None:
    here = rollout(step=2, plan_=plan(promote="ask"))
    move = decide(here, split_of(here), verdict("promote"), READY, NOW + 61)
    assert told(move) == ("ask", "asking")
    assert move is not None
    assert move.split is None


@pytest.mark.parametrize(
    ("on_deadline", "expected"), [("rollback", ("rollback", "rolled_back")), ("ask", ("ask", "asking"))]
)
def test_what_cannot_be_decided_ends_as_planned(on_deadline: str, expected: tuple[str, str]) -> None:
    here = rollout(step=1, plan_=plan(on_deadline=on_deadline))
    assert decide(here, split_of(here), verdict(), READY, NOW + 5) is None
    move = decide(here, split_of(here), verdict("over"), READY, NOW + 5)
    assert told(move) == expected
    assert move is not None
    assert move.decisions[0].reason.startswith("it says over")


def test_trouble_holds_and_is_told_once() -> None:
    here = rollout()
    waits = verdict(heard=60, trouble="No score of 'judge' for 5 min.")
    move = decide(here, split_of(here), waits, READY, NOW + 61)
    assert told(move) == ("hold", "running")
    assert move is not None
    assert move.split is None
    after = move.rollouts[0]
    assert (after.since, after.step) == (here.since, here.step)
    assert decide(after, split_of(here), waits, READY, NOW + 62) is None


def test_copies_only_until_the_challenger_has_proven_itself() -> None:
    duel = plan(preset="champion_challenger", steps=(Step(share=0),), mirror_share=200_000)
    loading = rollout("loading", plan_=duel)
    move = decide(loading, split_of(loading), Verdict(), READY, NOW)
    assert move is not None
    assert move.split is not None
    assert move.split.mirror is not None
    assert (shares(move.split.ranges), move.split.mirror.share) == ({OLD: WHOLE}, 200_000)
    here = rollout(plan_=duel)
    end = decide(here, split_of(here), verdict("promote"), READY, NOW + 1)
    assert told(end) == ("promote", "promoted")
    assert end is not None
    assert end.split is not None
    assert (shares(end.split.ranges), end.split.mirror) == ({NEW: WHOLE}, None)


@pytest.mark.parametrize("says", ["rollback", "over"])
def test_a_shadow_ends_with_a_report_and_nobody_moved(says: str) -> None:
    shadow = rollout(plan_=plan(preset="shadow", steps=(Step(share=0),), mirror_share=200_000))
    assert decide(shadow, split_of(shadow), verdict("promote", heard=60), READY, NOW + 60) is None
    move = decide(shadow, split_of(shadow), verdict(says), READY, NOW + 8 * DAY)
    assert told(move) == ("end", "done")
    assert move is not None
    assert move.split is not None
    assert (shares(move.split.ranges), move.split.mirror) == ({OLD: WHOLE}, None)


def test_blue_green_switches_at_once_and_keeps_the_old_one() -> None:
    loading = rollout("loading", plan_=plan(preset="blue_green", steps=(), gates=(), measures=()))
    move = decide(loading, split_of(loading), Verdict(), READY, NOW + 3)
    assert told(move) == ("promote", "promoted")
    assert move is not None
    assert move.split is not None
    assert (shares(move.split.ranges), move.split.warm) == ({NEW: WHOLE}, (Warm(OLD, NOW + 3 + DAY),))


def test_a_segment_moves_alone() -> None:
    segment = Segment(projects=("red",))
    loading = rollout("loading", plan_=plan(segment=segment, steps=STEPS[2:]))
    move = decide(loading, split_of(loading), Verdict(), READY, NOW)
    assert move is not None
    assert move.split is not None
    assert (shares(move.split.ranges), shares(move.split.inside)) == ({OLD: WHOLE}, {OLD: 500_000, NEW: 500_000})
    here = move.rollouts[0]
    end = decide(here, move.split, verdict("promote"), READY, NOW + 1)
    assert end is not None
    assert end.split is not None
    assert (shares(end.split.ranges), shares(end.split.inside)) == ({OLD: WHOLE}, {NEW: WHOLE})
    assert (end.split.segment, end.split.warm) == (segment, ())
    back = decide(here, move.split, verdict("rollback"), READY, NOW + 1)
    assert back is not None
    assert back.split is not None
    assert (shares(back.split.ranges), back.split.segment, back.split.inside) == ({OLD: WHOLE}, None, ())


def test_a_split_that_is_not_its_own_any_more_ends_it() -> None:
    here = rollout()
    for split in (None, replace(split_of(here), rollout="other")):
        move = decide(here, split, verdict("promote"), READY, NOW)
        assert told(move) == ("fail", "failed")
        assert move is not None
        assert move.split is None


@pytest.mark.parametrize("state", sorted(ENDED))
def test_an_end_is_an_end(state: Any) -> None:
    here = rollout(state)
    assert decide(here, split_of(here), verdict("rollback"), READY, NOW + 30 * DAY) is None


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["hold", "hold", "hold", "promote", "rollback", "over", "stop"]),
            st.integers(0, 60),
            st.floats(0, 200),
            st.booleans(),
        ),
        max_size=30,
    ),
    st.sampled_from(["automatic", "ask"]),
)
def test_steps_are_taken_in_order_and_shares_are_those_of_the_step(
    heard: list[tuple[str, int, float, bool]], promote: str
) -> None:
    here = rollout("loading", decisions=1, plan_=plan(promote=promote))
    split: Split = split_of(here)
    now, samples = NOW, 0
    for says, more, later, trouble in heard:
        now, samples = now + later, samples + more
        said = verdict(says, samples=samples, trouble="waits" if trouble else "")
        move = decide(here, split, replace(said, heard_to=now), READY, now)
        if move is None:
            continue
        (after,) = move.rollouts
        assert after.decisions == here.decisions + 1
        assert after.step - here.step in (0, 1)
        assert here.state not in ENDED
        if after.step > here.step:
            assert says in ("hold", "promote")
            assert not trouble
            assert now - here.since >= here.plan.steps[here.step].hold_s
        if after.state == "promoted":
            assert says == "promote"
            assert after.step == len(STEPS) - 1
        here, split = after, move.split or split
        candidate = shares(split.ranges).get(NEW, 0)
        if here.state in ENDED:
            assert candidate == (WHOLE if here.state == "promoted" else 0)
        elif here.state != "loading":
            assert candidate == here.plan.steps[here.step].share
