"""What people do to a rollout, and what they take back."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from msgspec.structs import replace

from penstock.control.rollouts.acts import abort, approve, pause, resume
from penstock.control.rollouts.back import JUST_NOW_S, KEEP_WARM_S, before, roll_back
from penstock.control.rollouts.moves import Move, Verdict, decide
from penstock.control.rollouts.shares import swept, switched, whole
from penstock.core.accounts import Directory
from penstock.core.errors import CONFLICT, PenstockError
from penstock.core.releases import WHOLE, Range, Rollout, Segment, Split, Warm
from penstock.routing.assignment import shares
from tests.control.rollouts.parts import (
    HALF_READY,
    NEW,
    NOW,
    OLD,
    READY,
    THIRD,
    plan,
    rollout,
    split_of,
    told,
    verdict,
)

ALL_STATES = ("loading", "running", "paused", "asking", "promoted", "rolled_back", "aborted", "failed", "done")


def test_a_pause_is_not_counted_and_its_step_begins_again() -> None:
    here = rollout(step=1)
    paused = pause(here, "ann", NOW + 50).rollouts[0]
    assert (paused.state, paused.since) == ("paused", NOW + 50)
    move = resume(paused, "bob", NOW + 150)
    back = move.rollouts[0]
    assert (back.state, back.since, back.paused_s, back.step) == ("running", NOW + 150, 100.0, 1)
    assert (move.decisions[0].actor, move.decisions[0].number, move.split) == ("bob", 4, None)
    assert decide(back, split_of(back), verdict(heard=200, samples=99), READY, NOW + 200) is None


def test_approval_promotes_whatever_the_gates_say_and_to_all_where_asked() -> None:
    asking = rollout("asking", 2, plan_=plan(segment=Segment(projects=("red",))))
    inside = approve(asking, split_of(asking), "ann", NOW)
    everyone = approve(asking, split_of(asking), "ann", NOW, everyone=True)
    assert told(inside) == told(everyone) == ("approve", "promoted")
    assert inside.split is not None
    assert everyone.split is not None
    assert (shares(inside.split.ranges), shares(inside.split.inside)) == ({OLD: WHOLE}, {NEW: WHOLE})
    assert (shares(everyone.split.ranges), everyone.split.segment) == ({NEW: WHOLE}, None)
    assert everyone.split.warm == (Warm(OLD, NOW + 86400.0),)


@pytest.mark.parametrize("state", ALL_STATES)
def test_each_act_has_its_states(state: Any) -> None:
    here = rollout(state)
    split = split_of(here)
    acts: dict[str, tuple[Callable[[], Move], set[str]]] = {
        "approve": (lambda: approve(here, split, "ann", NOW), {"asking"}),
        "pause": (lambda: pause(here, "ann", NOW), {"running"}),
        "resume": (lambda: resume(here, "ann", NOW), {"paused"}),
        "abort": (lambda: abort(here, split, "ann", NOW), {"loading", "running", "paused", "asking"}),
    }
    for act, (run, states) in acts.items():
        if state in states:
            assert told(run())[0] == act
        else:
            with pytest.raises(PenstockError) as refused:
                run()
            assert refused.value.fault is CONFLICT


def test_abort_gives_all_back_to_the_champion() -> None:
    here = rollout(step=2)
    split = replace(split_of(here), warm=(Warm(THIRD, NOW + 9),))
    move = abort(here, split, "ann", NOW)
    assert move.split is not None
    assert (shares(move.split.ranges), move.split.rollout, move.split.warm) == ({OLD: WHOLE}, "", split.warm)


# -- rollback ----------------------------------------------------------------------------------------------------


def promoted(champion: str, candidate: str, at: float, id: str) -> Rollout:
    made = rollout("promoted", plan_=plan(champion=champion, candidate=candidate))
    return replace(made, id=id, ended_at=at)


def now_has(release: str, *warm: Warm, rollouts: tuple[Rollout, ...] = ()) -> tuple[Directory, Split]:
    split = Split(service="chat", ranges=whole(release), salt="s", warm=warm)
    return Directory(splits=(split,), rollouts=rollouts), split


def test_the_release_before_is_the_one_whose_place_was_taken() -> None:
    history = (promoted(OLD, NEW, NOW, "1"), promoted(NEW, THIRD, NOW + 9, "2"))
    assert before(*now_has(THIRD, Warm(OLD), rollouts=history), NOW + 99) == NEW
    assert before(*now_has(NEW, Warm(THIRD), rollouts=history), NOW + 99) == OLD


def test_what_was_taken_back_does_not_come_back_by_itself() -> None:
    directory, split = now_has(NEW, rollouts=(promoted(OLD, NEW, NOW, "1"),))
    move = roll_back(directory, split, OLD, READY, id="2", actor="ann", now=NOW)
    assert move.split is not None
    assert move.split.warm == (Warm(NEW, NOW + KEEP_WARM_S),)
    after = replace(directory, rollouts=(*directory.rollouts, *move.rollouts), splits=(move.split,))
    with pytest.raises(PenstockError, match="No release before"):
        before(after, move.split, NOW + 99)


@pytest.mark.parametrize("state", ["rolled_back", "aborted", "failed"])
def test_who_asks_when_it_was_taken_back_a_moment_ago_does_not_go_back_further(state: Any) -> None:
    ended = replace(rollout(state), id="2", ended_at=NOW + 50)
    directory, split = now_has(OLD, rollouts=(promoted(THIRD, OLD, NOW, "1"), ended))
    with pytest.raises(PenstockError, match="a moment ago, to rel_0000000000000001") as refused:
        before(directory, split, NOW + 51)
    assert refused.value.fault is CONFLICT
    assert before(directory, split, NOW + 50 + JUST_NOW_S) == THIRD


def test_of_shares_that_were_set_by_hand_most_get_it_back() -> None:
    directory, split = now_has(NEW, Warm(OLD), rollouts=(promoted(OLD, NEW, NOW, "1"),))
    by_hand = replace(split, ranges=(Range(900_000, NEW), Range(WHOLE, THIRD)))
    assert before(replace(directory, splits=(by_hand,)), by_hand, NOW + 99) == NEW


def test_without_history_what_is_kept_warm_is_before() -> None:
    assert before(*now_has(NEW, Warm(OLD), Warm(THIRD)), NOW + 99) == THIRD
    with pytest.raises(PenstockError, match="No release before"):
        before(*now_has(NEW), NOW + 99)


def test_a_ready_release_is_switched_to_in_one_step() -> None:
    split = Split(
        service="chat",
        ranges=(Range(300_000, NEW), Range(WHOLE, THIRD)),
        salt="s",
        segment=Segment(keys=("k",)),
        inside=whole(NEW),
    )
    move = roll_back(Directory(splits=(split,)), split, OLD, READY, id="r", actor="ann", now=NOW)
    assert told(move) == ("rollback", "rolled_back")
    assert move.split is not None
    assert (shares(move.split.ranges), move.split.segment, move.split.inside) == ({OLD: WHOLE}, None, ())
    assert {each.release for each in move.split.warm} == {NEW, THIRD}
    assert (move.rollouts[0].plan.champion, move.rollouts[0].plan.candidate) == (THIRD, OLD)


def test_a_cold_release_is_loaded_first_and_nobody_moves_until_then() -> None:
    directory, split = now_has(OLD)
    move = roll_back(directory, split, NEW, HALF_READY, id="r", actor="ann", now=NOW)
    assert told(move) == ("start", "loading")
    assert move.split is not None
    assert shares(move.split.ranges) == {OLD: WHOLE}
    (loading,) = move.rollouts
    assert decide(loading, move.split, Verdict(), HALF_READY, NOW + 60) is None
    done = decide(loading, move.split, Verdict(), READY, NOW + 61)
    assert told(done) == ("rollback", "rolled_back")
    assert done is not None
    assert done.split is not None
    assert shares(done.split.ranges) == {NEW: WHOLE}
    assert "61 s" in done.decisions[0].reason
    late = decide(loading, move.split, Verdict(), HALF_READY, NOW + 3601)
    assert told(late) == ("fail", "failed")
    assert late is not None
    assert late.split is not None
    assert shares(late.split.ranges) == {OLD: WHOLE}


def test_a_rollout_that_runs_ends_with_its_champion() -> None:
    here = rollout(step=1)
    split = split_of(here)
    directory = Directory(splits=(split,), rollouts=(here,))
    assert before(directory, split, NOW + 99) == OLD
    move = roll_back(directory, split, OLD, {}, id="r", actor="ann", now=NOW)
    assert told(move) == ("rollback", "rolled_back")
    assert move.split is not None
    assert shares(move.split.ranges) == {OLD: WHOLE}
    assert [each.id for each in move.rollouts] == ["roll-1"]


@pytest.mark.parametrize(("standing", "state"), [({"a": frozenset({THIRD})}, "rolled_back"), (READY, "loading")])
def test_a_rollout_that_runs_gives_way_to_any_other(standing: Any, state: str) -> None:
    here = rollout(step=1)
    split = split_of(here)
    move = roll_back(
        Directory(splits=(split,), rollouts=(here,)), split, THIRD, standing, id="r", actor="ann", now=NOW
    )
    assert [(each.id, each.state) for each in move.rollouts] == [("roll-1", "aborted"), ("r", state)]
    assert [(each.rollout, each.number) for each in move.decisions] == [("roll-1", 3), ("r", 1)]
    assert move.split is not None
    assert shares(move.split.ranges) == ({THIRD: WHOLE} if state == "rolled_back" else {OLD: WHOLE})
    assert move.split.rollout == ("" if state == "rolled_back" else "r")


def test_what_everybody_has_is_not_gone_back_to() -> None:
    directory, split = now_has(OLD)
    with pytest.raises(PenstockError) as refused:
        roll_back(directory, split, OLD, READY, id="r", actor="ann", now=NOW)
    assert refused.value.fault is CONFLICT


def test_a_rollback_that_still_loads_may_be_turned_round() -> None:
    directory, split = now_has(OLD)
    move = roll_back(directory, split, NEW, HALF_READY, id="r", actor="ann", now=NOW)
    assert move.split is not None
    loading = Directory(splits=(move.split,), rollouts=move.rollouts)
    again = roll_back(loading, move.split, OLD, HALF_READY, id="s", actor="ann", now=NOW + 1)
    assert [(each.id, each.state) for each in again.rollouts] == [("r", "aborted"), ("s", "rolled_back")]


def test_a_rollback_asked_for_again_while_it_loads_goes_on() -> None:
    directory, split = now_has(OLD, Warm(NEW))
    move = roll_back(directory, split, before(directory, split, NOW + 99), HALF_READY, id="r", actor="ann", now=NOW)
    assert move.split is not None
    loading = Directory(splits=(move.split,), rollouts=move.rollouts)
    assert before(loading, move.split, NOW + 99) == NEW
    with pytest.raises(PenstockError, match="penstock rollout watch r") as refused:
        roll_back(loading, move.split, NEW, HALF_READY, id="s", actor="ben", now=NOW + 1)
    assert refused.value.fault is CONFLICT


def test_what_was_kept_long_enough_is_let_go() -> None:
    split = replace(switched(now_has(OLD)[1], NEW, NOW + 10, NOW), warm=(Warm(OLD, NOW + 10), Warm(THIRD)))
    assert swept(split, NOW + 9) is None
    after = swept(split, NOW + 10)
    assert after is not None
    assert after.warm == (Warm(THIRD),)
