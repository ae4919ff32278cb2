"""Who gets which release: set by hand, taken back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
import pytest

from penstock.control.accounts import splits
from penstock.control.accounts.rollout_shown import RolloutView, SplitView
from penstock.control.accounts.turn import Outcome
from penstock.core.accounts import Directory
from penstock.core.errors import CONFLICT, INVALID_VALUE, NOT_FOUND, PenstockError
from penstock.core.releases import WHOLE, Split
from penstock.routing.assignment import shares
from tests.control.accounts.office import NOW
from tests.control.accounts.shelf import directory, release, served, split, turn
from tests.control.accounts.test_rollouts import FILE, FIRST, KNOWN, LARGE, SECOND, SMALL, applied, start, view

READY: Mapping[str, frozenset[str]] = {"a": frozenset({FIRST.id, SECOND.id})}
COLD: Mapping[str, frozenset[str]] = {"a": frozenset({FIRST.id})}


def set_(there: Directory = KNOWN, standing: Mapping[str, frozenset[str]] = READY, **asked: Any) -> Outcome:
    body = msgspec.convert(asked, splits.SetSplit)
    return splits.change(there, turn("chat", served=FILE, standing=standing), body)


def back(there: Directory, standing: Mapping[str, frozenset[str]] = READY, to: str | None = None) -> Outcome:
    return splits.take_back(there, turn("chat", served=FILE, standing=standing), splits.RollBack(to=to))


def test_before_the_store_has_it_the_file_says_it_all() -> None:
    one = splits.one(KNOWN, turn("chat", served=FILE), None)
    assert (one.shares, one.changed_at, one.origin) == ({FIRST.id: 100.0}, None, FIRST.id)
    assert len(splits.listed(KNOWN, turn(served=FILE), None).data) == 2
    with pytest.raises(PenstockError) as error:
        splits.one(KNOWN, turn("other", served=FILE), None)
    assert error.value.fault is NOT_FOUND
    kept = directory(split((release(SMALL, service="gone"), 100)))
    assert splits.one(kept, turn("gone", served=FILE), None).id == "gone"


def test_shares_are_set_and_set_again_to_nothing_new() -> None:
    outcome = set_(shares={FIRST.id: 90, SECOND.id: 10}, sticky="request")
    there = applied(KNOWN, outcome)
    (after,) = there.splits
    assert (shares(after.ranges), after.sticky, after.origin) == (
        {FIRST.id: 900_000, SECOND.id: 100_000},
        "request",
        FIRST.id,
    )
    again = set_(there, shares={FIRST.id: 90, SECOND.id: 10.0})
    assert again.put == ()
    assert isinstance(again.answer, SplitView)


@pytest.mark.parametrize(
    ("given", "standing", "fault", "says"),
    [
        ({FIRST.id: 90}, READY, INVALID_VALUE, "90 %"),
        ({FIRST.id: 90, SECOND.id: 20}, READY, INVALID_VALUE, "110 %"),
        ({}, READY, INVALID_VALUE, "0 %"),
        ({"rel_nothing": 100}, READY, NOT_FOUND, "There is no release"),
        ({FIRST.id: 90, SECOND.id: 10}, COLD, CONFLICT, "ready on 0 of 1 gateways"),
    ],
)
def test_shares_that_cannot_be(
    given: dict[str, float], standing: Mapping[str, frozenset[str]], fault: object, says: str
) -> None:
    with pytest.raises(PenstockError) as error:
        set_(standing=standing, shares=given)
    assert (error.value.fault, error.value.param) == (fault, "shares")
    assert says in error.value.message


def test_while_a_rollout_runs_nobody_else_moves_shares() -> None:
    with pytest.raises(PenstockError) as error:
        set_(applied(KNOWN, start()), shares={FIRST.id: 100})
    assert error.value.fault is CONFLICT


def test_a_service_goes_back_at_once_to_what_is_loaded_and_else_waits() -> None:
    there = applied(KNOWN, set_(shares={SECOND.id: 100}))
    warm = back(there, to=FIRST.id)
    done = view(warm.answer)
    assert (done.state, done.preset, done.candidate) == ("rolled_back", "rollback", FIRST.id)
    split_after = warm.put[-1]
    assert isinstance(split_after, Split)
    assert shares(split_after.ranges) == {FIRST.id: WHOLE}
    there = applied(there, warm)
    cold = back(there, COLD, SECOND.id)
    waits = view(cold.answer)
    assert isinstance(cold.answer, RolloutView)
    assert (waits.state, waits.loaded) == ("loading", {"a": False})
    assert shares(applied(there, cold).splits[0].ranges) == {FIRST.id: WHOLE}


def test_without_a_name_it_is_the_release_before() -> None:
    there = applied(KNOWN, start())
    (running,) = there.rollouts
    promoted = msgspec.structs.replace(running, state="promoted", ended_at=NOW)
    after = msgspec.structs.replace(split((SECOND, 100)), changed_at=NOW)
    there = applied(there, Outcome(answer=KNOWN, put=(promoted, after), target=""))
    assert view(back(there).answer).candidate == FIRST.id
    with pytest.raises(PenstockError) as error:
        back(KNOWN)
    assert (error.value.fault, error.value.param) == (CONFLICT, "to")


@pytest.mark.parametrize(("to", "fault"), [("rel_nothing", NOT_FOUND), (FIRST.id, CONFLICT)])
def test_nowhere_to_go_back_to(to: str, fault: object) -> None:
    with pytest.raises(PenstockError) as error:
        back(KNOWN, to=to)
    assert (error.value.fault, error.value.param) == (fault, "to")


def test_what_cannot_be_served_any_more_is_not_gone_back_to() -> None:
    there = directory(LARGE, SECOND, FIRST, split((FIRST, 100)))
    changed = served(SMALL, msgspec.structs.replace(LARGE, digest="0" * 16), FIRST)
    with pytest.raises(PenstockError) as error:
        splits.take_back(there, turn("chat", served=changed, standing=READY), splits.RollBack(to=SECOND.id))
    assert "has 'large@" in error.value.message


def test_a_release_is_loaded_ahead_of_its_time_and_let_go() -> None:
    def warmed(there: Directory, for_s: float | None) -> Directory:
        body = splits.KeepWarm(release=SECOND.id, for_s=for_s)
        return applied(there, splits.warm(there, turn("chat", served=FILE), body))

    there = warmed(KNOWN, 60.0)
    assert [(each.release, each.until) for each in there.splits[0].warm] == [(SECOND.id, NOW + 60)]
    there = warmed(there, None)
    assert [(each.release, each.until) for each in there.splits[0].warm] == [(SECOND.id, None)]
    assert warmed(there, 0).splits[0].warm == ()
    assert shares(there.splits[0].ranges) == {FIRST.id: WHOLE}


def test_what_a_rollback_would_do_is_told_and_nothing_moves() -> None:
    there = applied(KNOWN, set_(shares={SECOND.id: 100}))

    def ahead(standing: Mapping[str, frozenset[str]], **query: str) -> splits.BackView:
        here = msgspec.structs.replace(turn("chat", served=FILE, standing=standing), query=query)
        return splits.ahead(there, here, None)

    named = ahead({"a": frozenset({FIRST.id}), "b": frozenset()}, to=FIRST.id)
    assert (named.to, named.ready, named.gateways) == (FIRST.id, ("a",), ("a", "b"))
    unknown = ahead(READY)
    assert unknown.to is None
    assert "No release before is known" in unknown.reason
    assert ahead(READY, to="rel_nothing").to is None
