"""From conditions to alerts and back, and who is told when."""

from __future__ import annotations

import fnmatch
import itertools
import re

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.control.objectives.conditions import Condition
from penstock.control.objectives.states import GONE_S, Memory, hushed, matches, silenced_by, turn
from penstock.control.objectives.telling import LEASE_S, Message, claim, due, resolutions
from penstock.core.series import Alert, Silence

NOW = 1_700_000_000.0
BOTH = frozenset({"page", "ticket"})


def condition(holds: bool | None, id: str = "slo/a/b/page", after_s: float = 0.0) -> Condition:
    return Condition(id=id, kind="burn", severity="page", text="It burns.", holds=holds, after_s=after_s, clear_s=60)


def alert(id: str = "slo/a/b/page", since: float = NOW, **more: object) -> Alert:
    made = Alert(id=id, kind="burn", severity="page", service="a", text="", since=since, changed_at=since)
    return msgspec.structs.replace(made, **more)


def silence(pattern: str, until: float = NOW + 100, id: str = "s") -> Silence:
    return Silence(id=id, pattern=pattern, created_at=NOW - 1, until=until)


# -- states ------------------------------------------------------------------------------------------------------


def test_it_is_pending_before_it_fires() -> None:
    found = {"x": condition(True, "x", after_s=30)}
    first = turn(NOW, {}, found, Memory())
    assert not first.fired
    second = turn(NOW + 15, {}, found, first.memory)
    assert not second.fired
    (made,) = turn(NOW + 30, {}, found, second.memory).fired
    assert (made.id, made.since, made.resolved_at) == ("x", NOW + 30, None)


def test_what_stops_while_it_is_pending_begins_anew() -> None:
    held = turn(NOW, {}, {"x": condition(True, "x", after_s=30)}, Memory())
    gone = turn(NOW + 15, {}, {"x": condition(False, "x", after_s=30)}, held.memory)
    assert not gone.memory.holds
    unknown = turn(NOW + 15, {}, {"x": condition(None, "x", after_s=30)}, held.memory)
    assert unknown.memory.holds == {"x": NOW}


def test_it_is_over_when_it_was_clear_for_a_while() -> None:
    there = {"x": alert("x")}
    step = turn(NOW + 10, there, {"x": condition(False, "x")}, Memory())
    assert not step.resolved
    again = turn(NOW + 40, there, {"x": condition(True, "x")}, step.memory)
    assert not again.memory.clear
    step = turn(NOW + 50, there, {"x": condition(False, "x")}, again.memory)
    step = turn(NOW + 109, there, {"x": condition(False, "x")}, step.memory)
    assert not step.resolved
    (over,) = turn(NOW + 110, there, {"x": condition(False, "x")}, step.memory).resolved
    assert (over.since, over.resolved_at, over.changed_at) == (NOW, NOW + 110, NOW + 110)


def test_what_is_not_known_is_not_over() -> None:
    step = Memory()
    for passed in range(0, 100_000, 1000):
        found = turn(NOW + passed, {"x": alert("x")}, {"x": condition(None, "x")}, step)
        assert not found.resolved
        assert not found.fired
        step = found.memory


def test_what_nobody_names_any_more_is_over_after_a_while() -> None:
    step = turn(NOW, {"x": alert("x")}, {}, Memory())
    assert not turn(NOW + GONE_S - 1, {"x": alert("x")}, {}, step.memory).resolved
    assert turn(NOW + GONE_S, {"x": alert("x")}, {}, step.memory).resolved


@given(st.lists(st.sampled_from([True, False, None]), max_size=40))
def test_it_fires_and_is_over_in_turns(seen: list[bool | None]) -> None:
    there: dict[str, Alert] = {}
    memory, told = Memory(), []
    for tick, holds in enumerate(seen):
        step = turn(NOW + 15 * tick, there, {"x": condition(holds, "x", after_s=15)}, memory)
        memory = step.memory
        told += ["fired"] * len(step.fired) + ["resolved"] * len(step.resolved)
        there = {each.id: each for each in step.fired} or ({} if step.resolved else there)
    assert all(one != other for one, other in itertools.pairwise(told))
    assert not told or told[0] == "fired"


# -- silences ----------------------------------------------------------------------------------------------------


@given(st.text("ab*/", max_size=8), st.text("ab/", max_size=10))
def test_patterns_are_those_of_a_shell_with_stars_alone(pattern: str, id: str) -> None:
    assert matches(pattern, id) == bool(re.match(fnmatch.translate(pattern), id))


def test_the_silence_that_lasts_longest_is_named() -> None:
    short, long, over = silence("slo/*", NOW + 5, "1"), silence("*/page", NOW + 9, "2"), silence("*", NOW, "3")
    assert silenced_by("slo/a/b/page", [short, long, over], NOW) == long
    assert silenced_by("budget/x", [short, long, over], NOW) is None


def test_alerts_say_what_silences_them() -> None:
    (quiet,) = hushed([alert(), alert("budget/x")], [silence("slo/*")], NOW)
    assert (quiet.id, quiet.silenced_by, quiet.changed_at) == ("slo/a/b/page", "s", NOW)
    assert hushed([quiet], [silence("slo/*")], NOW) == []
    assert [each.silenced_by for each in hushed([quiet], [], NOW)] == [""]


# -- telling -----------------------------------------------------------------------------------------------------


def ready(now: float, *alerts: Alert, severities: frozenset[str] = BOTH) -> list[list[str]]:
    return [[each.id for each in group] for group in due(now, alerts, severities, 30.0, 3600.0)]


def test_alerts_of_one_service_are_gathered() -> None:
    first, later = alert("slo/a/x/page"), alert("slo/a/y/ticket", NOW + 20, severity="ticket")
    other = alert("slo/b/x/page", NOW + 20, service="b")
    assert ready(NOW + 29, first, later, other) == []
    assert ready(NOW + 30, first, later, other) == [["slo/a/x/page", "slo/a/y/ticket"]]


def test_a_claim_keeps_others_off_until_it_lapses() -> None:
    (taken,), expected = claim([alert()], NOW + 30)
    assert expected == {"slo/a/b/page": NOW}
    assert ready(NOW + 30 + LEASE_S - 1, taken) == []
    assert ready(NOW + 30 + LEASE_S, taken) == [["slo/a/b/page"]]


def test_it_is_told_again_when_it_goes_on() -> None:
    told = alert(notified_at=NOW + 31, changed_at=NOW + 31)
    assert ready(NOW + 31 + 3599, told) == []
    assert ready(NOW + 31 + 3600, told) == [["slo/a/b/page"]]
    (taken,), _ = claim([told], NOW + 3700)
    assert ready(NOW + 3700 + LEASE_S - 1, taken) == []
    assert ready(NOW + 3700 + LEASE_S, taken) == [["slo/a/b/page"]]


def test_who_is_told_of_nothing() -> None:
    assert ready(NOW + 99, alert(silenced_by="s")) == []
    assert ready(NOW + 99, alert(), severities=frozenset({"ticket"})) == []
    assert ready(NOW + 99, alert(resolved_at=NOW + 1)) == []


def test_a_ticket_is_quiet_beside_the_page_of_the_same() -> None:
    page, ticket = alert("slo/a/b/page"), alert("slo/a/b/ticket", severity="ticket")
    assert ready(NOW + 30, page, ticket) == [["slo/a/b/page"]]
    assert ready(NOW + 30, msgspec.structs.replace(page, resolved_at=NOW), ticket) == [["slo/a/b/ticket"]]


def test_only_what_was_told_of_is_told_to_be_over() -> None:
    told, on_its_way, never = (
        alert("a", notified_at=NOW),
        claim([alert("b")], NOW + 30)[0][0],
        alert("c"),
    )
    before = {each.id: each for each in (told, on_its_way, never)}
    over = [msgspec.structs.replace(each, resolved_at=NOW + 60, changed_at=NOW + 60) for each in before.values()]
    assert [[each.id for each in group] for group in resolutions(over, before)] == [["a", "b"]]


@pytest.mark.parametrize(
    ("message", "title"),
    [
        (Message(status="firing", service="a", alerts=(alert(),), at=NOW), "Page: a: b"),
        (
            Message(status="firing", service="a", alerts=(alert(),) * 3, at=NOW, repeat=True),
            "Page, still: a: b and 2 more",
        ),
        (
            Message(
                status="resolved", service="", alerts=(alert("store/gw", kind="store", severity="ticket"),), at=NOW
            ),
            "Resolved: store gw",
        ),
        (
            Message(
                status="firing",
                service="org/a",
                alerts=(alert("slo/org/a/latency-2s/page", service="org/a"),),
                at=NOW,
            ),
            "Page: org/a: latency-2s",
        ),
        (
            Message(status="firing", service="", alerts=(alert("replica/gw/small-0/page", kind="replica"),), at=NOW),
            "Page: replica small-0",
        ),
    ],
)
def test_titles(message: Message, title: str) -> None:
    assert message.title == title
